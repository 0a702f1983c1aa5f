"""Rescoring: a small network that predicts a pose's OKS from its shape and its joints' scores.

Follows DEKR (Geng et al., CVPR 2021); its published figures multiply every person's score by this prediction.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posrefine.skeletons import Skeleton

__all__ = ["ScoreNet", "score_features"]

HIDDEN = 256


class ScoreNet(nn.Module):
    """Features of poses to their predicted OKS; the state dict's names are DEKR's."""

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__()
        self.skeleton = skeleton
        self.l1 = nn.Linear(skeleton.num_joints + 3 * len(skeleton.score_limbs), HIDDEN)
        self.l2 = nn.Linear(HIDDEN, HIDDEN)
        self.l3 = nn.Linear(HIDDEN, 1)

    def forward(self, features: Tensor) -> Tensor:
        """[N, F] of `score_features` to [N], about 0..1."""
        hidden = F.relu(self.l2(F.relu(self.l1(features))))
        return self.l3(hidden).squeeze(-1)  # type: ignore[no-any-return]


def score_features(keypoints: Tensor, keypoint_scores: Tensor, skeleton: Skeleton) -> Tensor:
    """What the rescoring network reads: limbs in units of the torso's size, then the joints' scores.

    Args:
        keypoints: [N, K, 2] float, x then y, image px (limbs are measured against at least 1 px).
        keypoint_scores: [N, K] float.
        skeleton: says which limbs, and which two of them have the mean length that is the unit.

    Returns:
        [N, 3L + K]: x, y of limb 0, of limb 1, ... (first joint minus second), the L lengths, the K scores.
    """
    first, second = zip(*skeleton.score_limbs, strict=True)
    vectors = keypoints[:, list(first)] - keypoints[:, list(second)]
    lengths = torch.linalg.vector_norm(vectors, dim=-1)
    unit = lengths[:, list(skeleton.score_reference_limbs)].mean(dim=1, keepdim=True).clamp(min=1)
    return torch.cat([(vectors / unit.unsqueeze(-1)).flatten(1), lengths / unit, keypoint_scores], dim=1)
