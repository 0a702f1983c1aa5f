from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as rle

from posrefine.errors import ConfigurationError
from posrefine.skeletons import COCO, CROWDPOSE
from posrefine.training.labels import label_image

# pycocotools' own use of NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PIXELS = np.zeros((20, 30, 3), np.uint8)


def person(visibility: int = 2, **changes: Any) -> dict[str, Any]:
    record = {"id": 1, "bbox": [3, 4, 6, 8], "area": 20.0, "iscrowd": 0, "keypoints": [5, 6, visibility] * 17}
    return record | changes


def square_rle(compressed: bool) -> Any:
    mask = np.zeros((20, 30), np.uint8, order="F")
    mask[2:7, 10:15] = 1
    if compressed:
        return rle.encode(mask)
    flat = mask.ravel(order="F")
    edges = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1, [flat.size]])
    return {"size": [20, 30], "counts": np.diff(edges).tolist()}


def test_persons_with_joints_become_labels():
    labelled = label_image(PIXELS, [person(), person(1, area=7.0)], COCO)
    assert labelled.keypoints.shape == (2, 17, 3)
    assert labelled.keypoints[1, 3].tolist() == [5, 6, 1]
    assert labelled.areas_px2.tolist() == [20.0, 7.0]
    assert labelled.diagonals_px.tolist() == [10.0, 10.0]
    assert not labelled.ignored.any()


@pytest.mark.parametrize("segment", ["polygon", "compressed", "uncompressed"])
def test_crowds_and_persons_without_joints_are_ignored_regions(segment: str):
    shapes = {"polygon": [[10, 2, 15, 2, 15, 7, 10, 7]]}
    region = shapes.get(segment) or square_rle(segment == "compressed")
    for record in (person(0, segmentation=region), person(2, iscrowd=1, segmentation=region)):
        labelled = label_image(PIXELS, [record, person()], COCO)
        assert len(labelled.keypoints) == 1
        assert labelled.ignored[2:7, 10:15].all()
        assert labelled.ignored.sum() == 25


def test_crowdpose_has_no_areas_so_the_box_stands_in():
    record = {"id": 1, "bbox": [3, 4, 6, 8], "iscrowd": 0, "keypoints": [5, 6, 2] * 14}
    assert label_image(PIXELS, [record], CROWDPOSE).areas_px2.tolist() == [48.0]


def test_an_image_without_annotations_has_no_persons():
    labelled = label_image(PIXELS, [], COCO)
    assert labelled.keypoints.shape == (0, 17, 3)
    assert labelled.diagonals_px.shape == (0,)


def test_keypoints_of_another_skeleton_are_refused():
    with pytest.raises(ConfigurationError, match="42 keypoint numbers, but coco has 17 joints"):
        label_image(PIXELS, [person(keypoints=[0] * 42)], COCO)


@pytest.mark.parametrize("record", [person(0, num_keypoints=0), person(2, iscrowd=1)])
def test_the_box_stands_in_for_crowds_and_persons_without_joints_that_have_no_segment(record: dict[str, Any]):
    labelled = label_image(PIXELS, [record | {"bbox": [18, 4, 6.5, 8]}], COCO)
    assert labelled.keypoints.shape == (0, 17, 3)
    assert labelled.ignored[4:12, 18:25].all()
    assert labelled.ignored.sum() == 8 * 7


def test_a_labelled_joint_in_the_box_of_somebody_unlabelled_still_counts():
    unlabelled = person(0, bbox=[0, 0, 30, 20])
    labelled = label_image(PIXELS, [unlabelled, person(bbox=[3, 4, 12, 16])], COCO)
    assert not labelled.ignored[6, 5]
    assert not labelled.ignored[5:8, 4:7].any()
    assert labelled.ignored[15:, 15:].all()


def test_persons_without_the_field_of_keypoints_are_ignored_regions():
    unlabelled = {"id": 1, "bbox": [3, 4, 6, 8], "iscrowd": 0, "keypoints": None}
    assert label_image(PIXELS, [unlabelled], COCO).ignored[4:12, 3:9].all()


def test_joints_of_another_set_are_learnt_by_their_names_and_the_others_are_not_known():
    names = ["neck", "left_wrist", "nose"]
    record = person(keypoints=[1, 1, 2, 5, 6, 1, 7, 8, 2])
    labelled = label_image(PIXELS, [record], COCO, names)
    assert labelled.keypoints[0, COCO.joints.index("left_wrist")].tolist() == [5, 6, 1]
    assert labelled.keypoints[0, COCO.joints.index("nose")].tolist() == [7, 8, 2]
    assert labelled.keypoints[0, :, 2].sum() == 3
    assert labelled.known_joints is not None
    assert [COCO.joints[n] for n in np.flatnonzero(labelled.known_joints)] == ["nose", "left_wrist"]
    assert label_image(PIXELS, [person()], COCO).known_joints is None
    with pytest.raises(ConfigurationError, match="51 keypoint numbers, but the person category has 3 joints"):
        label_image(PIXELS, [person()], COCO, names)


@pytest.mark.parametrize(
    "segment",
    [
        [[10, 2]],
        [[10, 2, 15, 7]],
        [[1, 2, 3, 4, 5, 6, 7]],
        {"size": [30, 20], "counts": [0, 600]},
        {},
        [None],
        "x",
    ],
)
def test_a_segment_that_is_none_of_this_image_is_passed_over_and_the_box_stands_in(segment: Any):
    record = person(0, segmentation=segment, bbox=[10, 2, 5, 5])
    boxed = label_image(PIXELS, [person(0, bbox=[10, 2, 5, 5])], COCO)

    np.testing.assert_array_equal(label_image(PIXELS, [record], COCO).ignored, boxed.ignored)
