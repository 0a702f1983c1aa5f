"""The offset head on a CPU: adaptive convolution as a weighted sum of table rows.

An output of the adaptive convolution is a sum over nine taps, each a blend of four cells, each multiplied by
the tap's weights. Multiplication and blending commute, so the cells are multiplied first, by all nine taps'
weights at once (a 1x1 convolution to nine times the channels), and what remains is, at every pixel, the
weighted sum of 36 rows of that table: `embedding_bag`, which torch has as a vectorised kernel. That is about
eight times as fast as `grid_sample`, which reads single numbers, and needs no copy of the samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from posrefine.inference.fast.backend import Backend
from posrefine.inference.fast.folding import FoldedConvolution, fold, norm_factors
from posrefine.inference.fast.heads import FastTransition
from posrefine.inference.fast.layers import chain_of, children_of
from posrefine.modeling.adaptive_conv import AFFINE_ROWS, TAPS, AdaptiveBlock, regular_matrix
from posrefine.modeling.network import PoseNetwork

__all__ = ["BagOffsetHead"]

_CELLS_AT_A_TIME = 2**14
"""Cells of maps whose tables are made together; about as much as stays in a core's cache."""
_CELLS_MULTIPLE = 64
"""Divides the cells of any map, as the sides of network inputs are multiples of 32 px."""
_CORNERS = 4


class BagOffsetHead:
    """From branch maps to offsets, joint by joint, so that all of a joint's tensors stay in the cache."""

    def __init__(self, network: PoseNetwork, widths: Sequence[int], backend: Backend) -> None:
        joints = network.skeleton.num_joints
        (transition,) = chain_of(network.transition_offset)
        final = fold(network.offset_final_layer)
        blocks = children_of(network.offset_feature_layers.blocks, AdaptiveBlock)
        self._transition = FastTransition(transition, widths, backend)
        self._channels = len(transition.bias) // joints
        self._joints = [
            (
                [_BagBlock(block, joint, backend) for block in blocks],
                backend.exact.convolution(final.group(joint)),
            )
            for joint in range(joints)
        ]

    def __call__(self, maps: Sequence[Tensor]) -> Tensor:
        """Branch maps, finest first, to [B, 2K, H/4, W/4] float32."""
        features = self._transition(maps)
        at_once = max(1, _CELLS_AT_A_TIME // features[0, 0].numel())
        return torch.cat([self._offsets(part) for part in torch.split(features, at_once)])

    def _offsets(self, features: Tensor) -> Tensor:
        offsets = []
        for (blocks, final), part in zip(
            self._joints, torch.split(features, self._channels, dim=1), strict=True
        ):
            x = part.contiguous(memory_format=torch.channels_last)
            for block in blocks:
                x = block(x)
            offsets.append(final(x.float()))
        return torch.cat(offsets, dim=1)


class _BagBlock:
    """One joint's adaptive block: [B, C, H, W] channels-last to the same shape."""

    def __init__(self, block: AdaptiveBlock, joint: int, backend: Backend) -> None:
        factor, shift = norm_factors(block.bn)
        channels = block.weight.shape[1]
        own = slice(joint * channels, (joint + 1) * channels)
        weight = block.weight.detach()[own].double() * factor[own].view(-1, 1, 1, 1)
        # [out, in, tap] to [tap * out, in]: a tap's products are one row of the table.
        table = weight.flatten(2).permute(2, 0, 1).reshape(TAPS * channels, channels, 1, 1).float()
        self._affine = backend.convolution(fold(block.affine_conv).group(joint))
        # Padding makes the cells around the map, whose products are zero.
        self._table = backend.convolution(
            FoldedConvolution(table, table.new_zeros(len(table)), padding=(1, 1))
        )
        self._shift = shift[own].to(backend.dtype).repeat(_CELLS_MULTIPLE)

    def __call__(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        affine = self._affine(x).permute(0, 2, 3, 1).reshape(-1, AFFINE_ROWS).float()
        indices, weights = _bags(affine, batch, height, width)
        table = self._table(x).permute(0, 2, 3, 1).reshape(-1, channels)
        out = F.embedding_bag(indices, table, per_sample_weights=weights.to(table.dtype), mode="sum")
        out += x.permute(0, 2, 3, 1).reshape(-1, channels)
        # Many cells at a time: adding rows of C numbers one by one is slow.
        out.view(-1, len(self._shift)).add_(self._shift).relu_()
        return out.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _bags(affine: Tensor, batch: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Which rows of the table each cell sums, and with what weights.

    Args:
        affine: [B * H * W, 6] float32, as the adaptive block predicts them.
        batch: B.
        height: H.
        width: W.

    Returns:
        Indices [B * H * W, 36] int32 and weights of the same shape in float32, taps by corners.
    """
    c = _constants(batch, height, width)
    positions = torch.addmm(c.cells, affine, c.displacement)
    # Many cells at a time: limits that are 18 numbers long are slow to apply one by one.
    in_rows = positions.view(-1, _CELLS_MULTIPLE * positions.shape[1])
    # More than a cell outside the map is like one cell outside: everything is zero there.
    torch.minimum(in_rows.nan_to_num_(nan=-1.0).clamp_(min=-1.0), c.limits, out=in_rows)
    corner = torch.minimum(in_rows.floor(), c.limits - 1).view_as(positions)
    fractions = positions.sub_(corner)
    rows = torch.add(c.table_rows, corner[:, TAPS:], alpha=TAPS)
    rows.add_(corner[:, :TAPS], alpha=TAPS * (width + 2))
    indices = rows.to(torch.int32).unsqueeze(-1) + c.corners
    weights = torch.addmm(c.upper, fractions[:, :TAPS], c.lower_minus_upper)
    weights *= torch.addmm(c.left, fractions[:, TAPS:], c.right_minus_left)
    return indices.view(-1, TAPS * _CORNERS), weights


@dataclass(frozen=True)
class _Constants:
    """What `_bags` needs to know of a shape; its N are the cells of all images.

    Attributes:
        cells: [N, 18] where each cell is: its row nine times, then its column.
        displacement: [6, 18] from an affine map to the nine taps' rows, then columns, relative to their cell.
        limits: rows and columns of the map, as often as `cells` has them in 64 cells.
        table_rows: [N, 9] where the table has each tap's products at cell (0, 0) of each cell's image.
        corners: [4] int32 how many rows of the table lie between a tap's upper left corner and each corner.
        upper: [36] 1 for upper corners, 0 for lower ones.
        lower_minus_upper: [9, 36] 1 for a tap's lower corners, -1 for its upper ones.
        left: [36] 1 for left corners, 0 for right ones.
        right_minus_left: [9, 36] 1 for a tap's right corners, -1 for its left ones.
    """

    cells: Tensor
    displacement: Tensor
    limits: Tensor
    table_rows: Tensor
    corners: Tensor
    upper: Tensor
    lower_minus_upper: Tensor
    left: Tensor
    right_minus_left: Tensor


@lru_cache(maxsize=64)
def _constants(batch: int, height: int, width: int) -> _Constants:
    image, row, column = (
        axis.reshape(-1, 1).expand(-1, TAPS)
        for axis in torch.meshgrid(
            *(torch.arange(length, dtype=torch.float32) for length in (batch, height, width)), indexing="ij"
        )
    )
    table_width = width + 2
    first_cells = image * ((height + 2) * table_width) + table_width + 1
    grid = regular_matrix(torch.zeros(()))
    zero, one = torch.zeros(TAPS), torch.ones(TAPS)
    to_rows = torch.stack([grid[0], grid[1], zero, zero, one, zero])
    to_columns = torch.stack([zero, zero, grid[0], grid[1], zero, one])
    limits = torch.cat([height * one, width * one])
    corner_row, corner_column = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])
    is_lower, is_right = corner_row.float().repeat(TAPS), corner_column.float().repeat(TAPS)
    tap = torch.eye(TAPS).repeat_interleave(_CORNERS, dim=1)
    return _Constants(
        cells=torch.cat([row, column], dim=1),
        displacement=torch.cat([to_rows, to_columns], dim=1),
        limits=limits.repeat(_CELLS_MULTIPLE),
        table_rows=first_cells * TAPS + torch.arange(TAPS),
        corners=(TAPS * (corner_row * table_width + corner_column)).to(torch.int32),
        upper=1 - is_lower,
        lower_minus_upper=tap * (2 * is_lower - 1),
        left=1 - is_right,
        right_minus_left=tap * (2 * is_right - 1),
    )
