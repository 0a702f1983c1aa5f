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
