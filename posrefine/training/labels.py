"""COCO and CrowdPose annotations of one image, made ready for training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle

from posrefine.errors import ConfigurationError
from posrefine.skeletons import Skeleton
from posrefine.training.samples import LabelledImage

__all__ = ["label_image", "usable_segment"]

Annotation = Mapping[str, Any]

_ROOM_OF_A_JOINT = 0.08
"""Half side of the square that a joint keeps in the box of somebody unlabelled, in its diagonals."""


def label_image(
    pixels: NDArray[np.uint8],
    annotations: Sequence[Annotation],
    skeleton: Skeleton,
    joints: Sequence[str] | None = None,
) -> LabelledImage:
    """Join an image with its annotations, as DEKR's data set does.

    Persons with at least one labelled joint are learnt; the segments of crowds and of persons without any
    joint are ignored regions. Where an annotation has no `area` (CrowdPose), the box stands in, and so it
    does for crowds and persons without a segment; a box holds neighbours too, whose joints still count, each
    with a little room around it.

    Args:
        pixels: [H, W, 3] uint8 RGB in the frame of the annotations, so without the EXIF rule for COCO.
        annotations: objects of a COCO `annotations` list: `keypoints` (3K numbers), `bbox` (x, y, width,
            height), and where known `area`, `segmentation`, `iscrowd`.
        skeleton: whose joints are learnt.
        joints: names of the annotations' keypoints in their order, where these are not the skeleton's: those
            that the skeleton has too are learnt, and the skeleton's others are not known.

    Raises:
        ConfigurationError: an annotation has another number of keypoints.
    """
    names = skeleton.joints if joints is None else tuple(joints)
    crowds = [entry for entry in annotations if entry.get("iscrowd")]
    persons = [entry for entry in annotations if not entry.get("iscrowd")]
    keypoints = [_keypoints(entry, names, skeleton) for entry in persons]
    known = [index for index, points in enumerate(keypoints) if (points[:, 2] > 0).any()]
    unknown = [persons[index] for index in range(len(persons)) if index not in set(known)]
    boxes = np.asarray([persons[index]["bbox"] for index in known], np.float32).reshape(-1, 4)
    stated = [persons[index].get("area") for index in known]
    areas = [box[2] * box[3] if area is None else area for area, box in zip(stated, boxes, strict=True)]
    points = np.asarray([keypoints[index] for index in known], np.float32)
    points = points.reshape(-1, skeleton.num_joints, 3)
    diagonals_px = np.hypot(boxes[:, 2], boxes[:, 3])
    hidden = [*crowds, *unknown]
    height, width = pixels.shape[:2]
    segments = [usable_segment(entry, height, width) for entry in hidden]
    without = [entry for entry, segment in zip(hidden, segments, strict=True) if segment is None]
    in_boxes = _boxes(without, height, width)
    if in_boxes.any():
        in_boxes &= ~_around_joints(points, diagonals_px, height, width)
    known_joints = np.array([name in names for name in skeleton.joints])
    return LabelledImage(
        pixels=pixels,
        keypoints=points,
        areas_px2=np.asarray(areas, np.float32),
        diagonals_px=diagonals_px,
        ignored=_segments([s for s in segments if s is not None], height, width) | in_boxes,
        known_joints=None if known_joints.all() else known_joints,
    )


def _keypoints(annotation: Annotation, names: tuple[str, ...], skeleton: Skeleton) -> NDArray[np.float32]:
    """[K, 3] the skeleton's joints; those without a name among the annotation's are not labelled."""
    flat = annotation.get("keypoints") or [0] * (3 * len(names))
    if len(flat) != 3 * len(names):
        whose = skeleton.name if names == skeleton.joints else "the person category"
        raise ConfigurationError(
            f"annotation {annotation.get('id')}: {len(flat)} keypoint numbers, but {whose} has "
            f"{len(names)} joints, so {3 * len(names)}: choose the annotations' skeleton"
        )
    given = np.asarray(flat, np.float32).reshape(-1, 3)
    if names == skeleton.joints:
        return given
    points = np.zeros((skeleton.num_joints, 3), np.float32)
    for index, name in enumerate(skeleton.joints):
        if name in names:
            points[index] = given[names.index(name)]
    return points


def _boxes(annotations: Sequence[Annotation], height: int, width: int) -> NDArray[np.bool_]:
    """[H, W] True inside any of the annotations' boxes."""
    inside = np.zeros((height, width), np.bool_)
    for annotation in annotations:
        left, top, across, down = annotation["bbox"]
        rows = slice(max(0, int(top)), max(0, math.ceil(top + down)))
        inside[rows, max(0, int(left)) : max(0, math.ceil(left + across))] = True
    return inside


def _around_joints(
    keypoints: NDArray[np.float32], diagonals_px: NDArray[np.float32], height: int, width: int
) -> NDArray[np.bool_]:
    """[H, W] True in squares around the labelled joints of [P, K, 3], sized by their persons' boxes."""
    inside = np.zeros((height, width), np.bool_)
    for points, diagonal_px in zip(keypoints, diagonals_px, strict=True):
        reach_px = _ROOM_OF_A_JOINT * float(diagonal_px)
        for x, y, _ in points[points[:, 2] > 0].tolist():
            rows = slice(max(0, int(y - reach_px)), max(0, math.ceil(y + reach_px) + 1))
            inside[rows, max(0, int(x - reach_px)) : max(0, math.ceil(x + reach_px) + 1)] = True
    return inside


def _segments(segments: Sequence[Any], height: int, width: int) -> NDArray[np.bool_]:
    """[H, W] True inside any of the segments, which are usable polygons or run lengths."""
    inside = np.zeros((height, width), np.bool_)
    for segment in segments:
        encoded = segment
        if isinstance(segment, list) or isinstance(segment["counts"], list):
            encoded = rle.frPyObjects(segment, height, width)
        mask = rle.decode(encoded)
        inside |= (mask if mask.ndim == 2 else mask.any(axis=2)).astype(np.bool_)
    return inside


def usable_segment(annotation: Annotation, height: int, width: int) -> Any:  # noqa: ANN401
    """The polygons of three points and more of an annotation, or its run lengths; None where there are none.

    Polygons of one or two points enclose nothing (and pycocotools takes two points for a box); run lengths of
    another image size would lie anywhere.
    """
    segment = annotation.get("segmentation")
    if isinstance(segment, list):
        polygons = [p for p in segment if isinstance(p, list) and len(p) >= 6 and len(p) % 2 == 0]
        return polygons or None
    if isinstance(segment, Mapping) and segment.get("counts") and segment.get("size") == [height, width]:
        return segment
    return None
