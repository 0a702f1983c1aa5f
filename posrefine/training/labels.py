"""COCO and CrowdPose annotations of one image, made ready for training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle

from posrefine.errors import ConfigurationError
from posrefine.skeletons import Skeleton
from posrefine.training.samples import LabelledImage

__all__ = ["label_image"]

Annotation = Mapping[str, Any]


def label_image(
    pixels: NDArray[np.uint8], annotations: Sequence[Annotation], skeleton: Skeleton
) -> LabelledImage:
    """Join an image with its annotations, as DEKR's data set does.

    Persons with at least one labelled joint are learnt; the segments of crowds and of persons without any
    joint are ignored regions. Where an annotation has no `area` (CrowdPose), the box stands in.

    Args:
        pixels: [H, W, 3] uint8 RGB in the frame of the annotations, so without the EXIF rule for COCO.
        annotations: objects of a COCO `annotations` list: `keypoints` (3K numbers), `bbox` (x, y, width,
            height), and where known `area`, `segmentation`, `iscrowd`.
        skeleton: whose joints the annotations name.

    Raises:
        ConfigurationError: an annotation has the keypoints of another skeleton.
    """
    crowds = [entry for entry in annotations if entry.get("iscrowd")]
    persons = [entry for entry in annotations if not entry.get("iscrowd")]
    keypoints = [_keypoints(entry, skeleton) for entry in persons]
    known = [index for index, points in enumerate(keypoints) if (points[:, 2] > 0).any()]
    unknown = [persons[index] for index in range(len(persons)) if index not in set(known)]
    boxes = np.asarray([persons[index]["bbox"] for index in known], np.float32).reshape(-1, 4)
    areas = [persons[index].get("area", box[2] * box[3]) for index, box in zip(known, boxes, strict=True)]
    joints = np.asarray([keypoints[index] for index in known], np.float32)
    return LabelledImage(
        pixels=pixels,
        keypoints=joints.reshape(-1, skeleton.num_joints, 3),
        areas_px2=np.asarray(areas, np.float32),
        diagonals_px=np.hypot(boxes[:, 2], boxes[:, 3]),
        ignored=_regions([*crowds, *unknown], pixels.shape[0], pixels.shape[1]),
    )


def _keypoints(annotation: Annotation, skeleton: Skeleton) -> NDArray[np.float32]:
    flat = annotation.get("keypoints", [0] * (3 * skeleton.num_joints))
    if len(flat) != 3 * skeleton.num_joints:
        raise ConfigurationError(
            f"annotation {annotation.get('id')}: {len(flat)} keypoint numbers, but {skeleton.name} has "
            f"{skeleton.num_joints} joints, so {3 * skeleton.num_joints}: choose the annotations' skeleton"
        )
    return np.asarray(flat, np.float32).reshape(-1, 3)


def _regions(annotations: Sequence[Annotation], height: int, width: int) -> NDArray[np.bool_]:
    """[H, W] True inside any of the annotations' segments (polygons or run lengths)."""
    inside = np.zeros((height, width), np.bool_)
    for annotation in annotations:
        segment = annotation.get("segmentation")
        if not segment:
            continue
        encoded = segment
        if isinstance(segment, list) or isinstance(segment["counts"], list):
            encoded = rle.frPyObjects(segment, height, width)
        mask = rle.decode(encoded)
        inside |= (mask if mask.ndim == 2 else mask.any(axis=2)).astype(np.bool_)
    return inside
