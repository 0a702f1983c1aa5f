"""The result type of the predictor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Poses"]


@dataclass(frozen=True)
class Poses:
    """The persons found in one image, best first.

    Attributes:
        keypoints: [N, K, 2] float32, x then y, image px.
        keypoint_scores: [N, K] float32, about 0..1.
        scores: [N] float32, descending; multiplied by the predicted OKS when a score network is in use.
        spread_px: [N, K] float32, image px: root mean square distance of the single test-time views
            (straight, mirrored, scales) from their mean; NaN where there was one view only.
    """

    keypoints: NDArray[np.float32]
    keypoint_scores: NDArray[np.float32]
    scores: NDArray[np.float32]
    spread_px: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.keypoints.ndim != 3 or self.keypoints.shape[2] != 2:
            raise ValueError(f"keypoints: expected [N, K, 2], got {list(self.keypoints.shape)}")
        persons, joints, _ = self.keypoints.shape
        for name, array, wanted in (
            ("keypoint_scores", self.keypoint_scores, (persons, joints)),
            ("scores", self.scores, (persons,)),
            ("spread_px", self.spread_px, (persons, joints)),
        ):
            if array.shape != wanted:
                raise ValueError(f"{name}: expected {list(wanted)}, got {list(array.shape)}")

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def boxes_xywh(self) -> NDArray[np.float32]:
        """[N, 4] float32, image px: the box around each person's joints, left, top, width, height."""
        if len(self) == 0:
            return np.zeros((0, 4), np.float32)
        low, high = self.keypoints.min(axis=1), self.keypoints.max(axis=1)
        return np.concatenate([low, high - low], axis=1)

    @staticmethod
    def none(num_joints: int) -> Poses:
        """No persons, for a skeleton of `num_joints` joints."""
        return Poses(
            keypoints=np.zeros((0, num_joints, 2), np.float32),
            keypoint_scores=np.zeros((0, num_joints), np.float32),
            scores=np.zeros((0,), np.float32),
            spread_px=np.zeros((0, num_joints), np.float32),
        )
