"""Skeletons drawn over their photograph, for a person to look at."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from posrefine.poses import Poses
from posrefine.skeletons import Skeleton

__all__ = ["draw_annotated", "draw_poses", "draw_spread"]

_Colour = tuple[int, int, int]

# One colour a side, so that swapped sides are seen at a row_summary; the person's own left and right.
_LEFT: _Colour = (255, 140, 0)
_RIGHT: _Colour = (0, 170, 255)
_MIDDLE: _Colour = (120, 220, 70)
_OUTLINE: _Colour = (20, 20, 20)
_ANNOTATED: _Colour = (255, 255, 255)
_SPREAD: _Colour = (255, 0, 160)


def draw_poses(
    pixels: NDArray[np.uint8],
    poses: Poses,
    skeleton: Skeleton,
    *,
    min_score: float = -math.inf,
    min_keypoint_score: float = -math.inf,
) -> NDArray[np.uint8]:
    """Draw every pose of one image: the left side orange, the right side blue, the middle green.

    Args:
        pixels: [H, W, 3] uint8 RGB, not changed.
        poses: keypoints in image px of the same frame.
        skeleton: gives limbs and sides; must have as many joints as the poses.
        min_score: persons below this score are left out.
        min_keypoint_score: joints below this score are left out, and the limbs that end in them.

    Returns:
        [H, W, 3] uint8 RGB.

    Raises:
        ValueError: the poses have another number of joints than the skeleton.
    """
    joints = poses.keypoints.shape[1]
    if joints != skeleton.num_joints:
        raise ValueError(
            f"poses of {joints} joints cannot be drawn as {skeleton.name}, which has {skeleton.num_joints}"
        )
    canvas = Image.fromarray(pixels)
    pen = ImageDraw.Draw(canvas)
    # Worst first, so that the surest person ends on top.
    for person in reversed(range(len(poses))):
        if poses.scores[person] >= min_score:
            shown = poses.keypoint_scores[person] >= min_keypoint_score
            _draw_person(pen, poses.keypoints[person], shown, skeleton)
    return np.asarray(canvas)


def draw_annotated(
    pixels: NDArray[np.uint8],
    keypoints: NDArray[np.floating],
    labelled: NDArray[np.bool_],
    skeleton: Skeleton,
) -> NDArray[np.uint8]:
    """Draw annotated persons as thin white skeletons, to lie under the poses that are compared with them.

    Args:
        pixels: [H, W, 3] uint8 RGB, not changed.
        keypoints: [P, K, 2], image px.
        labelled: [P, K] bool; other joints are left out.
        skeleton: gives the limbs.

    Returns:
        [H, W, 3] uint8 RGB.
    """
    canvas = Image.fromarray(pixels)
    pen = ImageDraw.Draw(canvas)
    for person, shown in zip(keypoints, labelled, strict=True):
        points = [(float(x), float(y)) for x, y in person]
        limbs = [(a, b) for a, b in skeleton.limbs if shown[a] and shown[b]]
        for colour, width_px in ((_OUTLINE, 4), (_ANNOTATED, 2)):
            for a, b in limbs:
                pen.line([points[a], points[b]], fill=colour, width=width_px)
        for index, point in enumerate(points):
            if shown[index]:
                pen.circle(point, radius=3, fill=_ANNOTATED, outline=_OUTLINE)
    return np.asarray(canvas)


def draw_spread(
    pixels: NDArray[np.uint8], poses: Poses, *, min_score: float = -math.inf
) -> NDArray[np.uint8]:
    """Draw a ring around every joint whose radius is the disagreement of the test-time views there.

    Args:
        pixels: [H, W, 3] uint8 RGB, not changed.
        poses: keypoints and spread in image px of the same frame; joints without a spread get no ring.
        min_score: persons below this score are left out.

    Returns:
        [H, W, 3] uint8 RGB.
    """
    canvas = Image.fromarray(pixels)
    pen = ImageDraw.Draw(canvas)
    for person in np.flatnonzero(poses.scores >= min_score):
        for point, radius_px in zip(poses.keypoints[person], poses.spread_px[person], strict=True):
            if np.isfinite(radius_px):
                x, y = map(float, point)
                pen.circle((x, y), radius=max(2.0, float(radius_px)), outline=_SPREAD, width=2)
    return np.asarray(canvas)


def _draw_person(
    pen: ImageDraw.ImageDraw, keypoints: NDArray[np.float32], shown: NDArray[np.bool_], skeleton: Skeleton
) -> None:
    width_px = _line_width_px(keypoints)
    points = [(float(x), float(y)) for x, y in keypoints]
    visible_limbs = [(a, b) for a, b in skeleton.limbs if shown[a] and shown[b]]
    for a, b in visible_limbs:
        pen.line([points[a], points[b]], fill=_OUTLINE, width=width_px + 2)
    for a, b in visible_limbs:
        pen.line([points[a], points[b]], fill=_limb_colour(skeleton, a, b), width=width_px)
    for index, (x, y) in enumerate(points):
        if shown[index]:
            pen.circle((x, y), radius=width_px, fill=_side_colour(skeleton.joints[index]), outline=_OUTLINE)


def _line_width_px(keypoints: NDArray[np.float32]) -> int:
    extent_px = keypoints.max(axis=0) - keypoints.min(axis=0)
    return max(1, min(8, round(math.hypot(*extent_px) / 100)))


def _side_colour(joint: str) -> _Colour:
    if joint.startswith("left_"):
        return _LEFT
    return _RIGHT if joint.startswith("right_") else _MIDDLE


def _limb_colour(skeleton: Skeleton, a: int, b: int) -> _Colour:
    first, second = _side_colour(skeleton.joints[a]), _side_colour(skeleton.joints[b])
    if first == second or second == _MIDDLE:
        return first
    return second if first == _MIDDLE else _MIDDLE
