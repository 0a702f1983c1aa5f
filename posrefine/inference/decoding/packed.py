"""A batch's persons as one tensor, which leaves the device at once, and that tensor as poses."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from posrefine.inference.decoding.decoder import Persons
from posrefine.poses import Poses
from posrefine.skeletons import Skeleton

__all__ = ["packed", "unpacked"]


def packed(persons: Persons) -> Tensor:
    """[B, N, 4K + 2] float32: all that leaves the device, in one tensor.

    The last column is 1 for a person and 0 for padding, and NaN in an image that is not sound.
    """
    found = persons.found.float().where(persons.sound.unsqueeze(1), torch.nan).unsqueeze(-1)
    return torch.cat(
        [
            persons.keypoints.flatten(2),
            persons.keypoint_scores,
            persons.spread_px,
            persons.scores.unsqueeze(-1),
            found,
        ],
        dim=-1,
    )


def unpacked(packed: NDArray[np.float32], skeleton: Skeleton) -> list[Poses]:
    """The poses of each image, out of the array that `packed` made."""
    poses, joints = [], skeleton.num_joints
    for rows in packed:
        rows = rows[rows[:, -1] > 0]
        keypoints, keypoint_scores, spread, scores, _ = np.split(
            rows, [2 * joints, 3 * joints, 4 * joints, 4 * joints + 1], axis=1
        )
        poses.append(Poses(keypoints.reshape(-1, joints, 2), keypoint_scores, scores[:, 0], spread, skeleton))
    return poses
