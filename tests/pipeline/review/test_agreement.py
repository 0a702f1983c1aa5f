"""Network and people held against each other, by the control share and beside it by the whole queue."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.answers import answer, everybody
from support.corrections import models_rows
from support.queues import queue_of
from support.rows import some_poses
from support.standing import Standing, persons_in, picture

from pipeline.output.review_queue import write_queue
from pipeline.review.agreement import agreement_of
from pipeline.review.agreement_text import reviewer_agreement_lines
from pipeline.review.corrections import import_reviews
from pipeline.review.labels import ReviewedPerson
from pipeline.review.matched_persons import ReviewerView, match_persons
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError
from posrefine.skeletons import COCO

SEEDS = [seed for seed in range(60) if persons_in(picture(seed)) == 2][:6]


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Standing:
    """Six images of two persons each; 0 to 3 are a queue, of which 0 and 1 were drawn at random.

    People confirmed 0, moved a wrist of 1 far away, removed a person of 2 and never answered about 3.
    Two of them looked at 0, and agree but for one joint.
    """
    folder = tmp_path_factory.mktemp("agreement")
    (folder / "in").mkdir()
    for number, seed in enumerate(SEEDS):
        (folder / "in" / f"{number}.png").write_bytes(picture(seed))
    standing = Standing(Storage(), str(folder / "in"), str(folder / "out"), {"min_score": 0.0})
    standing.sync()
    found = models_rows(standing.output)
    write_queue(standing.output, queue_of([found[f"{n}.png"] for n in range(4)], control=2))
    zero, one, two = (everybody(found[f"{n}.png"]) for n in range(3))
    answers = [
        answer(found["0.png"], [far(zero[0], 3), zero[1]], "bob"),
        answer(found["0.png"], zero),
        answer(found["1.png"], [far(one[0], 9), one[1]]),
        answer(found["2.png"], two[:1]),
        answer(found["5.png"], []),
    ]
    import_reviews(standing.output, answers, ["answers.json"])
    return standing


def far(person: ReviewedPerson, joint: int) -> ReviewedPerson:
    keypoints = person.keypoints.copy()
    keypoints[joint] += 300
    box = np.array([0, 0, 500, 500], np.float64)
    return dataclasses.replace(person, keypoints=keypoints, bbox=tuple(box))


def test_the_control_share_speaks_alone_and_the_whole_queue_beside_it(standing: Standing):
    found = agreement_of(standing.output, draws=50)
    assert found.queue_id == "q1"
    assert found.reviewers == {"ann": 4, "bob": 1}
    assert [(one.asked, one.images) for one in (found.control, found.queue, found.chosen)] == [
        (2, 2), (4, 3), (2, 1),
    ]  # fmt: skip
    assert found.control.model is not None
    assert found.control.model.found.value == 1
    # ann's view of 0 is the network's; one of 17 joints of one of four persons is far off.
    assert found.control.model.oks.value == pytest.approx(1 - 1 / 17 / 4, abs=1e-3)
    assert found.control.model.joints["left_wrist"].value == pytest.approx(0.75, abs=1e-3)
    assert found.control.model.joints["nose"].value == 1
    assert found.control.model.generations.keys() == {"1"}
    # All four persons span some hundred px a side: none is small or of medium size.
    assert {name: one.count for name, one in found.control.model.sizes.items()} == {
        "small": 0, "medium": 0, "large": 4,
    }  # fmt: skip
    assert found.control.model.sizes["large"].value == found.control.model.oks.value
    assert found.control.errors is not None
    assert found.control.errors.per_hundred_images == 0
    # Two images without an error do not say that there is none: 3.69 of a Poisson count in two.
    assert found.control.errors.interval.low == 0
    assert found.control.errors.interval.high == pytest.approx(100 * 3.69 / 2, rel=0.01)
    # In 2 there is somebody whom nobody labelled.
    assert found.chosen.errors is not None
    assert found.chosen.errors.per_hundred_images == 100
    assert found.queue.errors is not None
    assert found.queue.errors.per_hundred_images == pytest.approx(100 / 3)
    assert found.queue.errors.interval.low <= 100 / 3 <= found.queue.errors.interval.high
    assert found.control.ap["AP50"] == pytest.approx(1)
    assert set(found.control.ap_intervals) == set(found.control.ap)


def test_people_are_held_against_each_other(standing: Standing):
    found = agreement_of(standing.output, "q1", draws=5)
    assert (found.control.people_images, found.queue.people_images) == (1, 1)
    assert (found.chosen.people_images, found.chosen.people) == (0, None)
    people = found.control.people
    assert people is not None
    assert people == found.queue.people
    # One image was drawn, whichever of its two reviewers is held against the other.
    assert (people.found.value, people.found.count, people.found.images) == (1, 4, 1)
    assert people.joints["left_ear"].value == pytest.approx(0.5, abs=1e-3)
    assert people.oks.value == pytest.approx(1 - 1 / 17 / 2, abs=1e-3)
    said = "\n".join(reviewer_agreement_lines(found))
    assert "2 of 2" in said
    assert "3 of 4" in said
    assert "left ear" in said
    assert "1 images of the queue were looked at by two or more, 1 of its control share" in said


def test_bytes_that_were_drawn_under_two_keys_count_twice(standing: Standing):
    found = models_rows(standing.output)
    zero, two = found["0.png"], found["2.png"]
    queue = queue_of([two, dataclasses.replace(two, image_key="copy.png"), zero, zero], control=3)
    write_queue(
        standing.output, dataclasses.replace(queue, record=queue.record.model_copy(update={"queue_id": "q0"}))
    )
    control = agreement_of(standing.output, "q0", draws=5).control
    assert (control.asked, control.images) == (3, 3)
    assert control.errors is not None
    assert control.errors.images.value == pytest.approx(2 / 3)


def test_without_anybody_labelled_no_number_is_told_but_what_was_too_much(standing: Standing):
    five = models_rows(standing.output)["5.png"]
    queue = queue_of([five], control=1)
    record = queue.record.model_copy(update={"queue_id": "q5"})
    write_queue(standing.output, dataclasses.replace(queue, record=record))
    found = agreement_of(standing.output, "q5", draws=5)
    rows = {line.split("  ")[0]: line.split()[-3:] for line in "\n".join(
        reviewer_agreement_lines(found)
    ).splitlines()}  # fmt: skip
    assert rows["AP"] == ["-", "-", "-"]
    assert found.control.errors is not None
    assert found.control.errors.per_hundred_images == 200


def test_who_is_where_a_box_alone_was_drawn_is_no_error():
    poses = some_poses(3, 1)
    visibility = np.array([[2] * 17, [0] * 17], np.int8)
    keypoints = np.where(visibility[:, :, None] > 0, poses.keypoints[:2], 0)
    view = ReviewerView("a", "ann", 1, (500, 500), keypoints, visibility, poses.boxes_xywh[:2], poses)
    judged = match_persons(poses.keypoints[:2], view, COCO)
    assert (judged.is_found.tolist(), judged.unmatched, judged.errors) == ([True], 0, 0)
    far_away = poses.keypoints + 5000
    assert match_persons(far_away[1:2], view, COCO).unmatched == 1
    # A box is one person's.
    assert match_persons(poses.keypoints[[0, 1, 1]], view, COCO).unmatched == 1


def test_a_queue_of_which_nothing_was_reviewed_is_named(tmp_path: Path, standing: Standing):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.png").write_bytes(picture(SEEDS[0]))
    empty = Standing(Storage(), str(tmp_path / "in"), str(tmp_path / "out"))
    empty.sync()
    with pytest.raises(ConfigurationError, match="nothing of any queue was reviewed"):
        agreement_of(empty.output)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 10))
def test_everybody_is_found_missed_or_too_much(found: int, labelled: int, seed: int):
    poses, truth = some_poses(found, seed), some_poses(labelled, seed + 1)
    visibility = np.random.default_rng(seed).integers(0, 3, (labelled, 17)).astype(np.int8)
    view = ReviewerView("a", "ann", 1, (500, 500), truth.keypoints, visibility, truth.boxes_xywh, poses)
    judged = match_persons(poses.keypoints, view, COCO)
    has_joints = int((visibility > 0).any(axis=1).sum())
    assert len(judged.oks) == len(judged.is_found) == len(judged.areas_px2) == has_joints
    boxes, strangers = labelled - has_joints, found - int(judged.is_found.sum())
    assert strangers - boxes <= judged.unmatched <= strangers
    assert (np.isfinite(judged.joint_oks).any(axis=1) == judged.is_found).all()
    assert judged.errors >= judged.unmatched + int((~judged.is_found).sum())
