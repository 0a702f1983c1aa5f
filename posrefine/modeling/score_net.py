"""Rescoring: a small network that predicts a pose's OKS from its shape, its joints' scores and its size.

Follows DEKR (Geng et al., CVPR 2021); its published figures multiply every person's score by this prediction.
The size is ours: a heatmap's cell is the larger a part of a person the smaller the person, so what small ones
lose in OKS can be foretold.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posrefine.skeletons import Skeleton

__all__ = ["ScoreNet", "score_features"]

HIDDEN = 256


class ScoreNet(nn.Module):
    """Features of poses to their predicted OKS; the state dict's names are DEKR's, and `size`.

    As built, and with weights that DEKR or mmpose trained, the size counts for nothing.
    """

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__()
        self.skeleton = skeleton
        self.l1 = nn.Linear(skeleton.num_joints + 3 * len(skeleton.score_limbs), HIDDEN)
        self.l2 = nn.Linear(HIDDEN, HIDDEN)
        self.l3 = nn.Linear(HIDDEN, 1)
        self.size = nn.Linear(1, HIDDEN, bias=False)
        nn.init.zeros_(self.size.weight)

    def forward(self, features: Tensor) -> Tensor:
        """[N, F] of `score_features` to [N], about 0..1."""
        first = self.l1(features[:, :-1]) + self.size(features[:, -1:])
        hidden = F.relu(self.l2(F.relu(first)))
        return self.l3(hidden).squeeze(-1)  # type: ignore[no-any-return]


def score_features(
    keypoints: Tensor, keypoint_scores: Tensor, short_sides_px: Tensor, skeleton: Skeleton
) -> Tensor:
    """What the rescoring network reads: limbs in units of the torso, the joints' scores, the torso's size.

    Args:
        keypoints: [N, K, 2] float, x then y, image px (limbs are measured against at least 1 px).
        keypoint_scores: [N, K] float.
        short_sides_px: [N] float, short side of every pose's image in the same px, which is the network's
            input size whatever the image's own.
        skeleton: says which limbs, and which two of them have the mean length that is the unit.

    Returns:
        [N, 3L + K + 1]: x, y of limb 0, of limb 1, ... (first joint minus second), the L lengths, the K
        scores, the logarithm of the unit in short sides.
    """
    first, second = zip(*skeleton.score_limbs, strict=True)
    vectors = keypoints[:, list(first)] - keypoints[:, list(second)]
    lengths = torch.linalg.vector_norm(vectors, dim=-1)
    unit = lengths[:, list(skeleton.score_reference_limbs)].mean(dim=1, keepdim=True).clamp(min=1)
    size = (unit / short_sides_px.unsqueeze(-1)).log()
    return torch.cat(
        [(vectors / unit.unsqueeze(-1)).flatten(1), lengths / unit, keypoint_scores, size], dim=1
    )
