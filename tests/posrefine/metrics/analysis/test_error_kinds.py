"""Each kind of error is called by its name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.annotated import annotated_people, person_at
from support.evaluation import detections, ground_truth

from posrefine.metrics import OKS_RULES, match_images
from posrefine.metrics.analysis.diagnosis import calibration, joint_errors, person_errors
from posrefine.metrics.analysis.error_table import ErrorTable, JointVerdict, judge_joints
from posrefine.skeletons import COCO

RULES = OKS_RULES["coco"]
LEFT_WRIST, RIGHT_WRIST = COCO.joints.index("left_wrist"), COCO.joints.index("right_wrist")


@pytest.fixture
def two_people() -> dict[str, Any]:
    """Two persons in one image, their joints on two grids, far from each other in units of OKS."""
    annotations = annotated_people(1, most_people=0)
    grid = np.stack(np.meshgrid(np.arange(5) * 30.0, np.arange(4) * 40.0), -1).reshape(-1, 2)[:17]
    for number, left in enumerate((20.0, 300.0)):
        person = person_at(1, number + 1, (left, 100.0), 17, np.random.default_rng(0))
        points = np.concatenate([grid + np.array([left, 100.0]), np.full((17, 1), 2)], axis=1)
        person |= {"keypoints": points.ravel().tolist(), "area": 4000.0}
        annotations["annotations"].append(person)
    return annotations


def results(annotations: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"image_id": 1, "category_id": 1, "keypoints": list(person["keypoints"]), "score": 0.9 - 0.2 * number}
        for number, person in enumerate(annotations["annotations"])
    ]


def judged(annotations: dict[str, Any], found: list[dict[str, Any]]) -> ErrorTable:
    return judge_joints(ground_truth(annotations)[0], detections(found)[0], RULES)


def place(entry: dict[str, Any], joint: int, x_px: float, y_px: float) -> None:
    entry["keypoints"][3 * joint : 3 * joint + 2] = [x_px, y_px]


def position(entry: dict[str, Any], joint: int) -> list[float]:
    return entry["keypoints"][3 * joint : 3 * joint + 2]


def verdict_on_left_wrist(table: ErrorTable) -> JointVerdict:
    """The verdict of the first person's; the second's is good in these tests."""
    counts = table.verdicts[0, LEFT_WRIST].astype(int)
    counts[JointVerdict.GOOD] -= 1
    return JointVerdict(int(counts.argmax()))


def test_joints_in_place_are_good(two_people: dict[str, Any]) -> None:
    table = judged(two_people, results(two_people))

    assert table.verdicts[0, :, JointVerdict.GOOD].tolist() == [2] * 17
    assert table.verdicts.sum() == 34


def test_a_joint_a_little_off_is_jitter(two_people: dict[str, Any]) -> None:
    found = results(two_people)
    off_px = 2 * RULES.sigmas[LEFT_WRIST] * np.sqrt(4000.0)
    x_px, y_px = position(found[0], LEFT_WRIST)
    place(found[0], LEFT_WRIST, x_px + off_px, y_px)

    assert verdict_on_left_wrist(judged(two_people, found)) is JointVerdict.JITTER


def test_a_joint_on_its_mirror_joint_is_swapped_sides(two_people: dict[str, Any]) -> None:
    found = results(two_people)
    place(found[0], LEFT_WRIST, *position(found[0], RIGHT_WRIST))

    assert verdict_on_left_wrist(judged(two_people, found)) is JointVerdict.SWAPPED_SIDES


@pytest.mark.parametrize("joint", [LEFT_WRIST, RIGHT_WRIST])
def test_a_joint_on_another_person_is_that_persons(two_people: dict[str, Any], joint: int) -> None:
    found = results(two_people)
    place(found[0], LEFT_WRIST, *position(found[1], joint))

    assert verdict_on_left_wrist(judged(two_people, found)) is JointVerdict.OTHER_PERSON


def test_a_joint_nowhere_near_is_missed(two_people: dict[str, Any]) -> None:
    found = results(two_people)
    place(found[0], LEFT_WRIST, 600.0, 20.0)

    table = judged(two_people, found)

    assert verdict_on_left_wrist(table) is JointVerdict.MISSED
    row = next(row for row in joint_errors(table, RULES) if row.joint == "left_wrist")
    assert (row.labelled, row.good, row.missed) == (2, 1, 1)


def test_persons_are_counted_as_found_missed_or_invented(two_people: dict[str, Any]) -> None:
    found = results(two_people)
    place(found[1], 0, 0.0, 0.0)
    found[1]["keypoints"] = [value + 250.0 for value in found[1]["keypoints"]]
    found.append({**found[0], "score": 0.1})

    counted = person_errors(match_images(ground_truth(two_people)[0], detections(found)[0], RULES))

    assert counted.model_dump() == {"persons": 2, "found": 1, "missed": 1, "false_positives": 2}


def test_scores_equal_to_oks_are_calibrated_and_others_are_not(two_people: dict[str, Any]) -> None:
    found = results(two_people)
    for entry in found:
        entry["score"] = 1.0
    assert calibration(judged(two_people, found)).expected_calibration_error == pytest.approx(0.0)

    for entry in found:
        entry["score"] = 0.25
    measured = calibration(judged(two_people, found))
    assert measured.expected_calibration_error == pytest.approx(0.75)
    assert measured.bins[2].count == 2


def test_detections_on_crowds_count_neither_way(two_people: dict[str, Any]) -> None:
    two_people["annotations"][1]["iscrowd"] = 1

    table = judged(two_people, results(two_people))

    assert np.isnan(table.oks).tolist() == [False, True]
    assert table.verdicts.sum() == 17


def test_detections_in_images_without_annotated_persons_have_found_nobody(two_people: dict[str, Any]) -> None:
    found = results(two_people)
    two_people["annotations"] = []

    table = judged(two_people, found)

    assert table.oks.tolist() == [0.0, 0.0]
    assert table.verdicts.sum() == 0
