"""Ground truth and detections as columns: the form in which they are checked, sent to workers and matched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Detections", "GroundTruth", "ranges_to_indices"]


def ranges_to_indices(starts: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """All positions of the ranges [start, start + count), one range after the other."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    positions: NDArray[np.int64] = np.arange(total) + np.repeat(starts - (ends - counts), counts)
    return positions


@dataclass(frozen=True)
class GroundTruth:
    """Annotated persons of a set of images; image ids ascend, a person belongs to the image at its position.

    Attributes:
        image_ids: [I] int64, ascending, each once.
        crowd_index: [I] float64, CrowdPose's `crowdIndex`; NaN where the file has none.
        sizes: [I, 2] int32, width and height that the file states, px; 0 where it states none.
        person_image: [G] int64, position in `image_ids`, ascending; within an image, the order of the file.
        person_ids: [G] int64, annotation ids.
        keypoints: [G, K, 2] float64, x then y, image px.
        labelled: [G, K] bool, visibility flag above 0.
        boxes: [G, 4] float64, left, top, width, height, image px.
        areas: [G] float64, square px, by the protocol's rule.
        is_crowd: [G] bool.
        ignored: [G] bool, crowds and persons without labelled joints.
    """

    image_ids: NDArray[np.int64]
    crowd_index: NDArray[np.float64]
    sizes: NDArray[np.int32]
    person_image: NDArray[np.int64]
    person_ids: NDArray[np.int64]
    keypoints: NDArray[np.float64]
    labelled: NDArray[np.bool_]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    is_crowd: NDArray[np.bool_]
    ignored: NDArray[np.bool_]

    def __post_init__(self) -> None:
        persons, joints = self.labelled.shape
        if self.keypoints.shape != (persons, joints, 2):
            raise ValueError(f"keypoints: expected {[persons, joints, 2]}, got {list(self.keypoints.shape)}")
        if np.any(np.diff(self.image_ids) <= 0):
            raise ValueError("image_ids: expected ascending ids, each once")
        if np.any(np.diff(self.person_image) < 0):
            raise ValueError("person_image: expected ascending positions")

    @property
    def persons_per_image(self) -> NDArray[np.int64]:
        """[I] int64, crowds and unlabelled persons included."""
        return np.bincount(self.person_image, minlength=len(self.image_ids))

    def select(self, images: NDArray[np.int64]) -> GroundTruth:
        """The part with the images at the ascending positions `images` alone."""
        # By bisection: of a million images, a part of a few thousand should not cost a pass over all.
        starts = np.searchsorted(self.person_image, images, side="left")
        counts = np.searchsorted(self.person_image, images, side="right") - starts
        persons = ranges_to_indices(starts, counts)
        return GroundTruth(
            image_ids=self.image_ids[images],
            crowd_index=self.crowd_index[images],
            sizes=self.sizes[images],
            person_image=np.repeat(np.arange(len(images)), counts),
            person_ids=self.person_ids[persons],
            keypoints=self.keypoints[persons],
            labelled=self.labelled[persons],
            boxes=self.boxes[persons],
            areas=self.areas[persons],
            is_crowd=self.is_crowd[persons],
            ignored=self.ignored[persons],
        )


@dataclass(frozen=True)
class Detections:
    """Predicted persons, in the order in which they were given (it decides between equal scores).

    Attributes:
        image_ids: [D] int64, ascending or not.
        keypoints: [D, K, 2] float64, x then y, image px.
        scores: [D] float64.
    """

    image_ids: NDArray[np.int64]
    keypoints: NDArray[np.float64]
    scores: NDArray[np.float64]

    def __post_init__(self) -> None:
        count = len(self.image_ids)
        if self.keypoints.ndim != 3 or self.keypoints.shape[::2] != (count, 2):
            raise ValueError(f"keypoints: expected [{count}, K, 2], got {list(self.keypoints.shape)}")
        if self.scores.shape != (count,):
            raise ValueError(f"scores: expected [{count}], got {list(self.scores.shape)}")

    def __len__(self) -> int:
        return len(self.image_ids)

    def select(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Detections:
        """The detections at the given rows (positions or mask), in that order."""
        return Detections(self.image_ids[rows], self.keypoints[rows], self.scores[rows])

    @staticmethod
    def none(num_joints: int) -> Detections:
        """No detections, for a skeleton of `num_joints` joints."""
        return Detections(np.zeros(0, np.int64), np.zeros((0, num_joints, 2)), np.zeros(0))
