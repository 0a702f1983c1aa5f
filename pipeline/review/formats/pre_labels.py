"""A task as the exporters of poses want it, and what every tool's file says about it besides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.export.source import ExportedImage
from pipeline.review.formats.checks import NO_PRE_LABELS, PRE_LABELS
from pipeline.review.labels import ReviewTask
from posrefine.poses import Poses
from posrefine.skeletons import Skeleton

__all__ = ["TaskFile", "about_task", "exported"]


@dataclass(frozen=True)
class TaskFile:
    """What is asked of the tasks of one file.

    Attributes:
        skeleton: of the run.
        model: the network and its weights, for the tools that show it.
        min_keypoint_score: joints below are shown as not labelled, as are those outside of the frame.
        image_root: where the tool finds the images; None for their own addresses.
    """

    skeleton: Skeleton
    model: str
    min_keypoint_score: float
    image_root: str | None


def exported(task: ReviewTask, skeleton: Skeleton) -> ExportedImage:
    """The image with its pre-labels."""
    shape = (len(task.persons), skeleton.num_joints)
    poses = Poses(
        keypoints=np.array([one.keypoints for one in task.persons], np.float32).reshape(*shape, 2),
        keypoint_scores=np.array([one.keypoint_scores for one in task.persons], np.float32).reshape(shape),
        scores=np.array([one.score for one in task.persons], np.float32),
        spread_px=np.full(shape, np.nan, np.float32),
        skeleton=skeleton,
    )
    return ExportedImage(task.image_key, None, task.uri, task.width, task.height, poses, 0, task.sha256)


def _pre_labels(task: ReviewTask, about: TaskFile) -> str:
    """Who was shown, with which joints, as `pre_labels_of` reads it."""
    shown = exported(task, about.skeleton).shown(about.min_keypoint_score) > 0
    masks = [sum(1 << joint for joint in np.flatnonzero(flags).tolist()) for flags in shown]
    words = [f"{one.person}:{mask:x}" for one, mask in zip(task.persons, masks, strict=True)]
    return " ".join(words) or NO_PRE_LABELS


def about_task(task: ReviewTask, about: TaskFile) -> dict[str, Any]:
    """What comes back with the answer: which image it is about, whose it is, and what was shown."""
    return {
        "image_key": task.image_key,
        "sha256": task.sha256,
        "reviewer": task.reviewer or "",
        "reason": task.reason,
        PRE_LABELS: _pre_labels(task, about),
    }
