"""Keypoints refined by the heatmap around them.

An offset is read at the person's centre, and its error grows with its length; a heatmap peak is exact, but
does not tell whose keypoint it is. Here the offset chooses the neighbourhood, the heatmap the position in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from posrefine.inference.decoding.heat import joint_heat
from posrefine.inference.decoding.views import ScaleMaps
from posrefine.skeletons import Skeleton
from posrefine.test_protocols import STRIDE, HeatSampling

__all__ = ["drawn_to_heat", "offset_errors"]

_ERRORS = {
    "nose": 0.015, "eye": 0.015, "ear": 0.015, "head": 0.022, "neck": 0.022, "shoulder": 0.026, "hip": 0.026,
    "elbow": 0.045, "knee": 0.04, "wrist": 0.065, "ankle": 0.065,
}  # fmt: skip
"""Typical error of an offset, in diagonals of the pose's box."""

_ERROR_OF_OTHERS = 0.04
"""Of joints that no body has, such as a hand's: a knee's, the middle of a body's joints that move freely."""

_SMALLEST_PX, _LARGEST_PX = STRIDE / 2, 3.0 * STRIDE
"""No error is smaller than half a cell; farther than these cells the heat is of other things."""

_STEPS = 3
_REACH = 1.5
"""Places to look at: so many to each side, the last of them at so many errors."""

_SHARPNESS = 2.0
_FAINT = 0.02
"""Heat counts as its power `_SHARPNESS`; below `_FAINT` it says nothing."""


def drawn_to_heat(
    maps: Sequence[ScaleMaps],
    poses: Tensor,
    input_hw: tuple[int, int],
    sampling: HeatSampling,
    skeleton: Skeleton,
    weights: Tensor | None = None,
) -> Tensor:
    """The most likely position of every keypoint, given its offset and its heatmap.

    Positions around the offset's are weighted by a Gaussian of the offset's typical error and by the heatmap;
    the result is the mean of the positions within a cell of the best. Without any heat there keypoints stay.

    Args:
        maps: one entry per scale.
        poses: [B, P, K, 2] float32, scale-1 input px.
        input_hw: height and width of the scale-1 input.
        sampling: where heatmaps are read.
        skeleton: which joints the K are.
        weights: of the scales, as in `joint_heat`.

    Returns:
        [B, P, K, 2] float32, scale-1 input px.
    """
    batch, persons, joints, _ = poses.shape
    diagonals_px = (poses.amax(2) - poses.amin(2)).norm(dim=-1)
    errors_px = diagonals_px.unsqueeze(-1) * _errors(skeleton, poses.device)
    errors_px = errors_px.clamp(_SMALLEST_PX, _LARGEST_PX)[:, :, None, :, None]
    steps = _steps(poses)
    places = poses.unsqueeze(2) + steps[:, None] * errors_px
    if weights is not None:
        weights = weights.repeat_interleave(len(steps), dim=1)
    heat = joint_heat(maps, places.reshape(batch, -1, joints, 2), input_hw, sampling, weights)
    heat = heat.view(batch, persons, len(steps), joints)
    likelihood = _SHARPNESS * (heat.clamp(min=0) + _FAINT).log() - steps.square().sum(-1)[:, None] / 2
    best = likelihood.argmax(2, keepdim=True)
    middle = places.gather(2, best.unsqueeze(-1).expand(-1, -1, -1, -1, 2))
    away_cells2 = (places - middle).square().sum(-1) / STRIDE**2
    weight = (likelihood - away_cells2 / 2).softmax(2)
    drawn: Tensor = (weight.unsqueeze(-1) * places).sum(2)
    return drawn


def offset_errors(skeleton: Skeleton) -> list[float]:
    """For every joint the typical error of its offset, in diagonals of the pose's box."""
    parts = (joint.removeprefix("left_").removeprefix("right_") for joint in skeleton.joints)
    return [_ERRORS.get(part, _ERROR_OF_OTHERS) for part in parts]


@lru_cache(maxsize=64)
def _errors(skeleton: Skeleton, device: torch.device) -> Tensor:
    # Kept on the device: a copy there for every batch would hold up the queue.
    return torch.tensor(offset_errors(skeleton), device=device)


def _steps(like: Tensor) -> Tensor:
    """[G, 2]: x and y of a square grid around 0, in errors."""
    line = torch.linspace(-_REACH, _REACH, 2 * _STEPS + 1, dtype=like.dtype, device=like.device)
    return torch.cartesian_prod(line, line)
