"""Images of one data set that are in another are recognised by their persons."""

from __future__ import annotations

import numpy as np
from support.annotated import annotated_people
from support.coco_reference import read_json
from support.evaluation import ground_truth
from support.shared import shared_path

from posrefine.metrics.analysis.overlap import SharedImage, person_marks, shared_images
from posrefine.skeletons import COCO, CROWDPOSE


def by_mark(marks: list[bytes | None], images: list[int]) -> dict[bytes, int]:
    return {mark: image for mark, image in zip(marks, images, strict=True) if mark is not None}


def test_crowdpose_images_from_coco_are_found_and_no_others() -> None:
    """The reference list has 858 images of train2017. Five more have the size, the number of persons and five
    joints of a COCO image, so the list may lack them; a few have no person with five joints to compare."""
    listed = read_json(shared_path("data", "crowdpose", "crowdpose_val_to_coco.json"))
    train = np.load(shared_path("data", "annotations", "coco_kp_train2017.npz"), allow_pickle=False)
    truth, _ = ground_truth(read_json(shared_path("data", "crowdpose", "crowdpose_val.json")), "crowdpose")
    joints = train["keypoints"].astype(float)
    marks = person_marks(joints[..., :2], joints[..., 2] > 0, COCO)
    images = train["image_id"][train["person_image"]].tolist()

    shared = shared_images(truth, CROWDPOSE, by_mark(marks, images))

    found = {image.image_id: image.other_image_id for image in shared}
    expected = {
        int(image_id): entry["coco_id"] for image_id, entry in listed.items() if entry["split"] == "train2017"
    }
    both = found.keys() & expected.keys()
    assert len(both) > 0.98 * len(expected)
    assert len(found.keys() - expected.keys()) <= 5
    assert {image_id: found[image_id] for image_id in both} == {
        image_id: expected[image_id] for image_id in both
    }


def test_unrelated_sets_share_nothing() -> None:
    one, other = (ground_truth(annotated_people(30, seed))[0] for seed in (0, 1))
    marks = person_marks(other.keypoints, other.labelled, COCO)

    assert shared_images(one, COCO, by_mark(marks, [1] * len(marks))) == []


def test_an_image_is_the_one_that_most_of_its_persons_are_in() -> None:
    truth, _ = ground_truth(annotated_people(20))
    crowded = int(np.argmax(truth.persons_per_image))
    own = np.flatnonzero(truth.person_image == crowded)
    marks = person_marks(truth.keypoints[own], truth.labelled[own], COCO)
    known = [mark for mark in marks if mark is not None]
    assert len(known) >= 3

    (shared,) = shared_images(truth, COCO, by_mark(known, [7] + [8] * (len(known) - 1)))

    assert shared == SharedImage(int(truth.image_ids[crowded]), 8, len(known) - 1)


def test_persons_with_few_joints_are_not_compared() -> None:
    truth, _ = ground_truth(annotated_people(3))
    few = truth.labelled & (np.arange(17) > 12)

    assert set(person_marks(truth.keypoints, few, COCO)) == {None}
