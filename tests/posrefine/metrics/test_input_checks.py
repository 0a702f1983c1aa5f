"""What is wrong with the input is named and counted, and never silently scored."""

from __future__ import annotations

import copy
import math
import re

import pytest
from support.annotated import annotated_people, results_of
from support.coco_reference import pycocotools_numbers
from support.evaluation import detections, ground_truth, our_numbers

from posrefine.errors import ConfigurationError
from posrefine.metrics.findings import Finding


def counts(findings: list[Finding]) -> dict[str, int]:
    return {finding.code: finding.count for finding in findings}


def test_sound_files_give_no_finding() -> None:
    annotations = annotated_people(20)

    assert ground_truth(annotations)[1] == []
    assert detections(results_of(annotations))[1] == []


def test_odd_annotations_are_counted_by_kind() -> None:
    annotations = annotated_people(30)
    people = annotations["annotations"]
    people[0]["id"] = 0
    people[1]["id"] = people[2]["id"]
    people[3]["image_id"] = 10**6
    people[4]["category_id"] = 2
    people[5]["keypoints"][0] = math.nan
    people[6]["num_keypoints"] = 0
    annotations["images"].append(copy.deepcopy(annotations["images"][0]))

    truth, findings = ground_truth(annotations)

    assert counts(findings) == {
        "annotation_id_zero": 1,
        "duplicate_annotation_ids": 1,
        "annotations_of_unknown_images": 1,
        "annotations_of_other_categories": 1,
        "annotations_not_finite": 1,
        "num_keypoints_contradicts_flags": 1,
        "duplicate_images": 1,
    }
    assert len(truth.person_ids) == len(people) - 2
    assert truth.ignored.sum() == 2


def test_swapped_width_and_height_are_noticed() -> None:
    annotations = annotated_people(50)
    for image in annotations["images"]:
        image["width"], image["height"] = 240, 640

    assert "swapped_sizes" in counts(ground_truth(annotations)[1])


def test_swapped_sizes_of_crowdpose_files_are_counted_and_change_no_number() -> None:
    annotations = annotated_people(50, skeleton="crowdpose")
    swapped = copy.deepcopy(annotations)
    for image in swapped["images"]:
        image["width"], image["height"] = 240, 640
    results = results_of(annotations)

    found = counts(ground_truth(swapped, "crowdpose")[1])

    assert 0 < found["swapped_sizes"] <= 50
    assert our_numbers(swapped, results, "crowdpose") == our_numbers(annotations, results, "crowdpose")


def test_crowdpose_splits_that_say_nothing_are_noticed() -> None:
    annotations = annotated_people(9, skeleton="crowdpose")
    for index, image in enumerate(annotations["images"]):
        image["crowdIndex"] = [-1, 0, 0.1][index % 3]
    del annotations["images"][0]["crowdIndex"]

    findings = ground_truth(annotations, "crowdpose")[1]

    assert counts(findings) == {"crowd_index_missing": 1, "crowd_index_negative": 2, "crowd_split_empty": 2}
    assert findings[-1].examples == ("medium", "hard")
    assert our_numbers(annotations, results_of(annotations), "crowdpose")[-2:] == [-1.0, -1.0]


def test_predictions_that_cannot_be_scored_are_left_out_and_counted() -> None:
    results = results_of(annotated_people(30))
    results[0]["category_id"] = 3
    results[1]["keypoints"] = results[1]["keypoints"][:42]
    results[2]["keypoints"][4] = math.inf
    results[3]["score"] = math.nan
    results[4]["keypoints"][0] = None

    usable, findings = detections(results)

    assert counts(findings) == {
        "predictions_of_other_categories": 1,
        "predictions_wrong_joint_count": 1,
        "predictions_not_finite": 3,
    }
    assert len(usable) == len(results) - 5


def test_predictions_of_another_skeleton_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="different skeletons"):
        detections(results_of(annotated_people(5, skeleton="crowdpose")))


@pytest.mark.parametrize("field", ["area", "bbox", "keypoints", "id", "image_id", "category_id"])
def test_annotations_without_a_needed_field_are_refused_by_name(field: str) -> None:
    annotations = annotated_people(5)
    del annotations["annotations"][0][field]

    with pytest.raises(ConfigurationError, match=field):
        ground_truth(annotations)


def test_annotations_of_another_skeleton_are_refused() -> None:
    annotations = annotated_people(5, skeleton="crowdpose")

    with pytest.raises(ConfigurationError, match=r"42 keypoint numbers|14 joints"):
        ground_truth(annotations, "coco")


def test_other_categories_are_left_out_whatever_their_annotations_look_like() -> None:
    annotations = annotated_people(20)
    results = results_of(annotations)
    expected = our_numbers(annotations, results)
    assert expected == pytest.approx(pycocotools_numbers(annotations, results), abs=1e-12)
    person = copy.deepcopy(annotations["annotations"][0])
    boxes = {"id": 900, "image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "area": 5.0}
    others = [
        boxes,
        boxes | {"keypoints": [1, 2, 2] * 20},
        boxes | {"keypoints": [], "bbox": None},
        boxes | {"keypoints": None, "id": "a-b"},
        person | {"id": 901, "category_id": 2},
        person | {"id": 902, "category_id": 2, "area": None, "bbox": "none"},
    ]
    annotations["annotations"] = [*others[:3], *annotations["annotations"], *others[3:]]
    annotations["categories"].append({"id": 2, "name": "dog", "keypoints": ["tail"]})

    truth, findings = ground_truth(annotations)

    assert counts(findings) == {"annotations_of_other_categories": len(others)}
    assert our_numbers(annotations, results) == expected
    assert len(truth.person_ids) == len(annotations["annotations"]) - len(others)


def test_persons_with_an_empty_list_of_keypoints_have_none_labelled_as_in_pycocotools() -> None:
    annotations = annotated_people(20)
    results = results_of(annotations)
    for person in annotations["annotations"][::3]:
        person["keypoints"], person["num_keypoints"] = [], 0
    blank = copy.deepcopy(annotations)
    for person in blank["annotations"][::3]:
        person["keypoints"] = [0] * 51

    expected = pycocotools_numbers(blank, results)
    assert our_numbers(annotations, results) == pytest.approx(expected, abs=1e-12)


def test_a_number_of_keypoints_that_is_null_is_not_0_as_in_pycocotools() -> None:
    annotations = annotated_people(20)
    results = results_of(annotations)
    for person in annotations["annotations"][::2]:
        person["num_keypoints"] = None
    annotations["annotations"][2]["keypoints"] = [0] * 51

    expected = pycocotools_numbers(annotations, results)
    assert our_numbers(annotations, results) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("id", 2**64, "18446744073709551616"),
        ("id", "0b1f-uuid", "0b1f-uuid"),
        ("image_id", None, "image_id"),
        ("category_id", None, "category_id"),
        ("area", [1, 2], "entry 1 "),
        ("image_id", [1], r"\[1\]"),
        ("bbox", [1, 2, 3], r"bbox \[1, 2, 3\]"),
        ("bbox", [1, 2, "x", 4], "x"),
        ("area", "big", "big"),
        ("keypoints", None, "no 'keypoints'"),
        ("keypoints", "none", "keypoints 'none'"),
        ("keypoints", [[1, 2, 2]] * 51, "entry 1 "),
        ("num_keypoints", "many", "many"),
    ],
)
def test_a_person_that_cannot_be_scored_is_refused_by_name(field: str, value: object, words: str) -> None:
    annotations = annotated_people(5)
    annotations["annotations"][0][field] = value

    with pytest.raises(ConfigurationError, match=words):
        ground_truth(annotations)


@pytest.mark.parametrize("image_id", [2**64, "7", "0b1f-uuid", None, 1.5, math.inf, True])
def test_image_ids_that_are_no_integers_are_refused_by_name(image_id: object) -> None:
    annotations = annotated_people(5)
    results = results_of(annotations)
    annotations["images"][0]["id"] = results[0]["image_id"] = image_id

    with pytest.raises(ConfigurationError, match=re.escape(f"image is {image_id!r}")):
        ground_truth(annotations)
    with pytest.raises(ConfigurationError, match=re.escape(f"image_id is {image_id!r}")):
        detections(results)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("keypoints", None),
        ("keypoints", ["a"] * 51),
        ("keypoints", [[1, 2, 1]] * 51),
        ("score", [0.9]),
        ("score", "high"),
        ("score", {}),
    ],
)
def test_predictions_that_are_no_numbers_are_refused_with_their_entry(field: str, value: object) -> None:
    results = results_of(annotated_people(5))
    results[1] |= {field: value, "image_id": 4711}

    with pytest.raises(ConfigurationError, match=rf"entry of image 4711: (the )?{field}"):
        detections(results)


def test_an_annotation_file_without_persons_says_so() -> None:
    annotations = annotated_people(5)
    annotations["annotations"] = []

    assert counts(ground_truth(annotations)[1]) == {"no_annotations": 1}


def test_the_refusal_names_what_the_file_is() -> None:
    crowdpose = annotated_people(5, skeleton="crowdpose")
    with pytest.raises(ConfigurationError, match="these are CrowdPose's annotations"):
        ground_truth(crowdpose)
    del crowdpose["categories"][0]["keypoints"]
    with pytest.raises(ConfigurationError, match="these are CrowdPose's annotations"):
        ground_truth(crowdpose)
    with pytest.raises(ConfigurationError, match="these are COCO's annotations"):
        ground_truth(annotated_people(5), "crowdpose")


@pytest.mark.parametrize("joints", ["nose", 17, {"nose": 1}, [1, 2], [None], [["nose"]], True])
def test_joints_that_are_no_names_are_refused_whatever_the_numbers_look_like(joints: object) -> None:
    annotations = annotated_people(5)
    annotations["categories"][0]["keypoints"] = joints
    with pytest.raises(ConfigurationError, match=r"person category has the keypoints .*a list of names"):
        ground_truth(annotations)


def test_findings_of_parts_add_up() -> None:
    one, other = (Finding.of("images_missing", list(range(count))) for count in (3, 4))

    merged = Finding.merge([*one, *other])

    assert [(finding.code, finding.count) for finding in merged] == [("images_missing", 7)]
    assert len(merged[0].examples) == 5
