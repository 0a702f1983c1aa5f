"""Pose NMS: of proposals that share most of their keypoints the best is kept.

Follows HRNet/DEKR's `nms_core`, for a whole batch at once; there the best has the highest mean heatmap value.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["close_poses", "keep_one_per_group"]


def close_poses(poses: Tensor, threshold: float, min_close_joints: int) -> Tensor:
    """Which poses belong to which pose's group.

    Args:
        poses: [B, P, K, 2].
        threshold: joints are close if they are nearer than this times the diagonal of the group owner's box.
        min_close_joints: a pose belongs to the group if more joints than this are close.

    Returns:
        [B, P, P] bool: row i is pose i's group, itself included.
    """
    width, height = (poses.amax(2) - poses.amin(2)).unbind(-1)
    reach = threshold * (width * width + height * height).sqrt()
    x, y = poses.unbind(-1)
    dx, dy = x.unsqueeze(2) - x.unsqueeze(1), y.unsqueeze(2) - y.unsqueeze(1)
    near = (dx * dx + dy * dy).sqrt() < reach[:, :, None, None]
    itself = torch.eye(poses.shape[1], dtype=torch.bool, device=poses.device)
    return (near.sum(-1) > min_close_joints) | itself


def keep_one_per_group(groups: Tensor, merit: Tensor, found: Tensor) -> Tensor:
    """Goes through the proposals in order and keeps the best of every group that is not dealt with yet.

    Args:
        groups: [B, P, P] bool, row i is pose i's group, itself included.
        merit: [B, P], how good a proposal is: its mean heatmap value over the keypoints, for instance.
        found: [B, P] bool, False for padding.

    Returns:
        [B, P] bool, the kept poses.
    """
    groups = groups & found.unsqueeze(1)
    best_of_group = torch.where(groups, merit.unsqueeze(1), -torch.inf).argmax(-1)
    dealt_with = ~found
    opened = []
    # Each step depends on the one before; the images of the batch go through it together.
    for i in range(merit.shape[1]):
        best = best_of_group[:, i : i + 1]
        opens = ~(dealt_with[:, i : i + 1] | dealt_with.gather(1, best))
        dealt_with = dealt_with | (groups[:, i] & opens)
        opened.append(opens)
    kept = torch.zeros_like(found, dtype=torch.uint8)
    return kept.scatter_add_(1, best_of_group, torch.cat(opened, 1).to(torch.uint8)) > 0
