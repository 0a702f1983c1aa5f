"""Heatmap values at single keypoints, without ever enlarging a heatmap.

The published protocol enlarges every heatmap to the input's size, averages the scales and reads one pixel per
joint. Interpolating the small maps at those pixels gives the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from posrefine.inference.decoding.views import ScaleMaps
from posrefine.test_protocols import STRIDE, HeatSampling

__all__ = ["joint_heat"]


def joint_heat(
    maps: Sequence[ScaleMaps],
    points: Tensor,
    input_hw: tuple[int, int],
    sampling: HeatSampling,
    weights: Tensor | None = None,
) -> Tensor:
    """The heatmap value at every keypoint, averaged over the scales.

    Args:
        maps: one entry per scale.
        points: [B, P, K, 2] float32, scale-1 input px.
        input_hw: height and width of the scale-1 input.
        sampling: where to read.
        weights: [B, P, scales] float32 of the scales for each person, summing up to 1; None weighs all alike.

    Returns:
        [B, P, K] float32.
    """
    if sampling is HeatSampling.QUARTER:
        heat = torch.stack([_at_positions(m.heatmap, points * (m.scale / STRIDE)) for m in maps])
    else:
        pixels = points.floor()
        heat = torch.stack([_at_pixels(m.heatmap, pixels, input_hw) for m in maps])
    if weights is None:
        return heat.sum(0) / len(maps)
    return (heat * weights.movedim(-1, 0).unsqueeze(-1)).sum(0)


def _at_pixels(heatmap: Tensor, pixels: Tensor, input_hw: tuple[int, int]) -> Tensor:
    """The heatmap, enlarged to the input's size, at whole pixels [B, P, K, 2], clamped into it.

    The map's corner cells are the corners of all but the last k - 1 rows and columns, k being the factor;
    those repeat the row and column before (DEKR's `up_interpolate`).
    """
    positions = []
    for axis, (side, target) in enumerate(zip(heatmap.shape[:1:-1], input_hw[::-1], strict=True)):
        last = target - target // side
        # The quotient in float32, as in torch's own align_corners, so that whole cells stay whole.
        step = float(np.float32(side - 1) / np.float32(max(last, 1)))
        positions.append(pixels[..., axis].clamp(0, last) * step)
    return _bilinear(heatmap, positions[0], positions[1])


def _at_positions(heatmap: Tensor, positions: Tensor) -> Tensor:
    """The heatmap between its cells, at positions [B, P, K, 2] in heatmap cells, read as mmpose does.

    It scales coordinates as if corner cells were corners and then samples as if they were not, which
    stretches them by w / (w - 1) and moves them by half a cell.
    """
    height, width = heatmap.shape[-2:]
    x = (positions[..., 0] * (width / (width - 1)) - 0.5).clamp(0, width - 1)
    y = (positions[..., 1] * (height / (height - 1)) - 0.5).clamp(0, height - 1)
    return _bilinear(heatmap, x, y)


def _bilinear(heatmap: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Joint k's map at its positions x, y [B, P, K], inside the map: [B, P, K]."""
    height, width = heatmap.shape[-2:]
    left, top = x.floor(), y.floor()
    right_weight, bottom_weight = x - left, y - top
    left_index, top_index = left.long().clamp(0, width - 1), top.long().clamp(0, height - 1)
    right_index = (left_index + 1).clamp(max=width - 1)
    rows = torch.stack([top_index, (top_index + 1).clamp(max=height - 1)], dim=-1).unsqueeze(-1)
    columns = torch.stack([left_index, right_index], dim=-1).unsqueeze(-2)
    corners = _gather(heatmap, rows * width + columns)
    sides = torch.lerp(corners[..., 0], corners[..., 1], right_weight.unsqueeze(-1))
    return torch.lerp(sides[..., 0], sides[..., 1], bottom_weight)


def _gather(heatmap: Tensor, flat_cells: Tensor) -> Tensor:
    """Joint k's map at cells [B, P, K, 2, 2], each y * w + x; the centre's map is not read."""
    batch, persons, joints = flat_cells.shape[:3]
    flat = flat_cells.permute(0, 2, 1, 3, 4).reshape(batch, joints, -1)
    values = heatmap[:, :joints].flatten(2).gather(2, flat)
    return values.view(batch, joints, persons, 2, 2).permute(0, 2, 1, 3, 4)
