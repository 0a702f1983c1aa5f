"""Rescoring: a small network that predicts a pose's OKS from its shape, joints' scores, size and spread.

Follows DEKR (Geng et al., CVPR 2021); its published figures multiply every person's score by this prediction.
Size and spread are ours. A heatmap's cell is the larger a part of a person the smaller the person, so what
small ones lose in OKS can be foretold; and where the views of a test disagree, a pose is seldom right.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posrefine.errors import ConfigurationError
from posrefine.skeletons import Skeleton

__all__ = ["ScoreNet", "score_features"]

HIDDEN = 256
# Spreads below about this part of the unit of length tell little about a joint.
_SMALL_SPREAD = 0.01


class ScoreNet(nn.Module):
    """Features of poses to their predicted OKS; the state dict's names are DEKR's, `size` and `spread`.

    As built, and with weights that DEKR or mmpose trained, size and spread count for nothing.

    Raises:
        ConfigurationError: the skeleton names no limbs to read.
    """

    def __init__(self, skeleton: Skeleton) -> None:
        super().__init__()
        if not skeleton.score_limbs:
            raise ConfigurationError(
                f"skeleton {skeleton.name} names no score_limbs, which a rescoring network reads: predict "
                "without one, or name them and their score_reference_limbs"
            )
        self.skeleton = skeleton
        self.l1 = nn.Linear(skeleton.score_features, HIDDEN)
        self.l2 = nn.Linear(HIDDEN, HIDDEN)
        self.l3 = nn.Linear(HIDDEN, 1)
        self.size = nn.Linear(1, HIDDEN, bias=False)
        self.spread = nn.Linear(3, HIDDEN, bias=False)
        nn.init.zeros_(self.size.weight)
        nn.init.zeros_(self.spread.weight)

    def forward(self, features: Tensor) -> Tensor:
        """[N, F] of `score_features` to [N], about 0..1."""
        parts = [self.l1.in_features, self.size.in_features, self.spread.in_features]
        shape, size, spread = torch.split(features, parts, dim=1)
        first = self.l1(shape) + self.size(size) + self.spread(spread)
        hidden = F.relu(self.l2(F.relu(first)))
        return self.l3(hidden).squeeze(-1)  # type: ignore[no-any-return]


def score_features(
    keypoints: Tensor, keypoint_scores: Tensor, spread_px: Tensor, short_sides_px: Tensor, skeleton: Skeleton
) -> Tensor:
    """What the rescoring network reads: limbs in units of the torso, joints' scores, torso's size, spreads.

    Args:
        keypoints: [N, K, 2] float, x then y, image px (limbs are measured against at least 1 px).
        keypoint_scores: [N, K] float.
        spread_px: [N, K] float, distance of the test's views from their mean, in the same px; NaN where
            there was one view alone.
        short_sides_px: [N] float, short side of every pose's image in the same px, which is the network's
            input size whatever the image's own.
        skeleton: says which limbs, and which two of them have the mean length that is the unit.

    Returns:
        [N, 3L + K + 4]: x, y of limb 0, of limb 1, ... (first joint minus second), the L lengths, the K
        scores, the logarithm of the unit in short sides; of the spreads in units, as log(1 + 100 x), mean and
        largest, and 1; three zeros where there was one view alone.
    """
    first, second = zip(*skeleton.score_limbs, strict=True)
    vectors = keypoints[:, list(first)] - keypoints[:, list(second)]
    lengths = torch.linalg.vector_norm(vectors, dim=-1)
    assert skeleton.score_reference_limbs is not None
    unit = lengths[:, list(skeleton.score_reference_limbs)].mean(dim=1, keepdim=True).clamp(min=1)
    size = (unit / short_sides_px.unsqueeze(-1)).log()
    spread = (spread_px / unit / _SMALL_SPREAD).log1p()
    spreads = torch.stack([spread.mean(1), spread.amax(1), torch.ones_like(spread[:, 0])], dim=1)
    spreads = torch.where(spread_px.isnan().any(1, keepdim=True), 0.0, spreads)
    return torch.cat(
        [(vectors / unit.unsqueeze(-1)).flatten(1), lengths / unit, keypoint_scores, size, spreads], dim=1
    )
