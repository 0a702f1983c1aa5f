"""The offset head on a CPU: computed where offsets are read, and nowhere else.

Decoding reads offsets at thirty centres at most, on maps of ten thousand cells and more. An adaptive block's
output at a cell needs its input at the nine cells around it, from which the affine map is predicted, and at
the 36 corners of the nine places that the map points to. So a stack of blocks is asked from its end: every
block asks the one before for 45 cells, until the features, which are computed everywhere, are asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from posrefine.inference.fast.backend import Backend
from posrefine.inference.fast.folding import fold, norm_factors
from posrefine.inference.fast.heads import FastTransition
from posrefine.inference.fast.layers import chain_of, children_of
from posrefine.inference.fast.soundness import check_folded
from posrefine.modeling.adaptive_conv import AFFINE_ROWS, TAPS, AdaptiveBlock, regular_matrix
from posrefine.modeling.network import PoseNetwork

__all__ = ["PointOffsetHead", "PointOffsets"]

_CORNERS = 4
_CELLS_ASKED = TAPS + TAPS * _CORNERS
_ROWS_AT_A_TIME = 2**22
"""Numbers of features are read at once; bounds the memory where many cells are asked for."""


class PointOffsetHead:
    """From branch maps to features of joints, and from these to offsets at cells.

    Args:
        network: read, not kept.
        widths: channels of the branches, finest first.
        backend: where the features are computed; what is read from them is float32.
    """

    def __init__(self, network: PoseNetwork, widths: Sequence[int], backend: Backend) -> None:
        joints = network.skeleton.num_joints
        (transition,) = chain_of(network.transition_offset)
        final = fold(network.offset_final_layer)
        self._transition = FastTransition(transition, widths, backend)
        self._blocks = [
            _Block.of(block, joints)
            for block in children_of(network.offset_feature_layers.blocks, AdaptiveBlock)
        ]
        self._final_weight = final.weight.view(joints, 2, -1).transpose(1, 2)
        self._final_bias = final.bias.view(joints, 1, 2)

    def __call__(self, maps: Sequence[Tensor]) -> Tensor:
        """Branch maps, finest first, to the features of all joints, [B, K * C, H/4, W/4] channels-last."""
        return self._transition(maps)

    def offsets(self, features: Tensor) -> PointOffsets:
        """Offsets by cell, computed from the features when they are read."""
        return PointOffsets(features, self._blocks, self._final_weight, self._final_bias)


@dataclass(frozen=True)
class PointOffsets:
    """Offsets computed when they are read.

    Attributes:
        features: [B, K * C, h, w] channels-last, any float type.
        blocks: the adaptive blocks, first to last.
        final_weight: [K, C, 2] float32.
        final_bias: [K, 1, 2] float32.
    """

    features: Tensor
    blocks: Sequence[_Block]
    final_weight: Tensor
    final_bias: Tensor

    def at(self, cells: Tensor) -> Tensor:
        """See `posrefine.inference.fast.offsets.Offsets.at`."""
        joints = len(self.final_weight)
        if not cells.numel():
            return self.final_bias.new_empty(*cells.shape[:2], joints, 2)
        batch, _, height, width = self.features.shape
        stack = _Stack(
            self.features.permute(0, 2, 3, 1).reshape(batch * height * width * joints, -1),
            joints,
            (height, width),
            self.blocks,
        )
        images = torch.arange(batch).view(-1, 1).expand(cells.shape[:2])
        asked = _Cells(images.flatten(), cells[..., 1].flatten(), cells[..., 0].flatten())
        at_once = max(1, _ROWS_AT_A_TIME // (joints * _CELLS_ASKED ** len(self.blocks)))
        parts = [
            stack.output(len(self.blocks), _Cells(*part).of_joints(joints)) @ self.final_weight
            for part in zip(*(torch.split(field, at_once) for field in asked), strict=True)
        ]
        found = torch.cat(parts, dim=1) + self.final_bias
        return found.transpose(0, 1).reshape(*cells.shape[:2], joints, 2)


class _Cells(NamedTuple):
    """Cells that are asked for, also outside the map; int64, all of one shape.

    Attributes:
        image: position in the batch.
        y: row.
        x: column.
    """

    image: Tensor
    y: Tensor
    x: Tensor

    def of_joints(self, joints: int) -> _Cells:
        """[N] to [K, N], the same for every joint."""
        return _Cells(*(field.expand(joints, -1) for field in self))

    def with_others(self, y: Tensor, x: Tensor) -> _Cells:
        """[K, N] and rows and columns [K, N, M] to those cells in the same images, [K, N * M]."""
        image = self.image.unsqueeze(-1).expand_as(y)
        return _Cells(image.flatten(1), y.flatten(1), x.flatten(1))


@dataclass(frozen=True)
class _Block:
    """An adaptive block's weights, joint by joint, batch norm folded in; float32.

    Attributes:
        affine: [K, 9 * C, 6] from the cells around a cell to its affine map, tap by tap.
        affine_bias: [K, 1, 6].
        weight: [K, 9 * C, C] from samples to outputs, tap by tap.
        shift: [K, 1, C].
    """

    affine: Tensor
    affine_bias: Tensor
    weight: Tensor
    shift: Tensor

    @staticmethod
    def of(block: AdaptiveBlock, joints: int) -> _Block:
        factor, shift = norm_factors(block.bn)
        affine = fold(block.affine_conv)
        weight = block.weight.detach().double() * factor.view(-1, 1, 1, 1)
        check_folded(weight.float(), shift.float(), weight.shape)
        return _Block(
            affine=_by_tap(affine.weight, joints),
            affine_bias=affine.bias.view(joints, 1, AFFINE_ROWS),
            weight=_by_tap(weight.float(), joints),
            shift=shift.float().view(joints, 1, -1),
        )


def _by_tap(weight: Tensor, joints: int) -> Tensor:
    """[K * out, in, 3, 3] to [K, 9 * in, out]."""
    _, inputs = weight.shape[:2]
    return weight.reshape(joints, -1, inputs, TAPS).permute(0, 3, 2, 1).reshape(joints, TAPS * inputs, -1)


@dataclass(frozen=True)
class _Stack:
    """Features and the blocks on them.

    Attributes:
        table: [B * h * w * K, C], the features, a joint's at a cell in a row.
        joints: K.
        size: h, w.
        blocks: first to last.
    """

    table: Tensor
    joints: int
    size: tuple[int, int]
    blocks: Sequence[_Block]

    def output(self, depth: int, cells: _Cells) -> Tensor:
        """The output of the block at `depth` at cells [K, N]; depth 0 are the features: [K, N, C] float32.

        Outside the map everything is zero, as convolutions and samples find it there.
        """
        inside = self._inside(cells.y, cells.x)
        if depth == 0:
            rows = self._rows(cells).mul_(inside)
            found = self.table.index_select(0, rows.flatten()).float().view(*rows.shape, -1)
            return found.mul_(inside.unsqueeze(-1))
        block = self.blocks[depth - 1]
        steps_y, steps_x = regular_matrix(cells.y)
        near = cells.with_others(cells.y.unsqueeze(-1) + steps_y, cells.x.unsqueeze(-1) + steps_x)
        around = self.output(depth - 1, near).view(*cells.y.shape, TAPS, -1)
        affine = torch.baddbmm(block.affine_bias, around.flatten(2), block.affine)
        samples = self._samples(depth - 1, cells, affine)
        out = torch.baddbmm(block.shift, samples, block.weight)
        return out.add_(around[:, :, TAPS // 2]).relu_().mul_(inside.unsqueeze(-1))

    def _samples(self, depth: int, cells: _Cells, affine: Tensor) -> Tensor:
        """[K, N, 9 * C]: what lies at the nine places that affine maps [K, N, 6] point to, blended."""
        height, width = self.size
        grid_y, grid_x = regular_matrix(affine)
        a_yy, a_yx, a_xy, a_xx, t_y, t_x = affine.unsqueeze(-1).unbind(2)
        # More than a cell outside the map is like one cell outside: everything is zero there.
        y = _limited(cells.y.unsqueeze(-1) + t_y + a_yy * grid_y + a_yx * grid_x, height)
        x = _limited(cells.x.unsqueeze(-1) + t_x + a_xy * grid_y + a_xx * grid_x, width)
        top, left = y.floor(), x.floor()
        down, right = y - top, x - left
        corners_y = torch.stack([top, top, top + 1, top + 1], dim=-1).long()
        corners_x = torch.stack([left, left + 1, left, left + 1], dim=-1).long()
        up, back = 1 - down, 1 - right
        shares = torch.stack([up * back, up * right, down * back, down * right], dim=-1)
        asked = cells.with_others(corners_y.flatten(2), corners_x.flatten(2))
        if depth == 0:
            return self._blended_features(asked, shares)
        found = self.output(depth, asked).view(*shares.shape, -1)
        return found.mul_(shares.unsqueeze(-1)).sum(3).flatten(2)

    def _blended_features(self, asked: _Cells, shares: Tensor) -> Tensor:
        """[K, N, 9 * C] from four cells a tap, without a copy of the cells' features."""
        inside = self._inside(asked.y, asked.x)
        rows = self._rows(asked).mul_(inside)
        weights = shares.view(rows.shape).mul_(inside).to(self.table.dtype)
        sums = F.embedding_bag(
            rows.view(-1, _CORNERS),
            self.table,
            per_sample_weights=weights.view(-1, _CORNERS),
            mode="sum",
        )
        return sums.float().view(*shares.shape[:2], -1)

    def _rows(self, cells: _Cells) -> Tensor:
        """[K, N] the table's rows of cells, where they lie inside the map."""
        height, width = self.size
        own = torch.arange(self.joints).unsqueeze(1)
        return ((cells.image * height + cells.y) * width + cells.x) * self.joints + own

    def _inside(self, y: Tensor, x: Tensor) -> Tensor:
        height, width = self.size
        return (y >= 0) & (y < height) & (x >= 0) & (x < width)


def _limited(positions: Tensor, length: int) -> Tensor:
    return positions.nan_to_num_(nan=-1.0).clamp_(min=-1.0, max=float(length))
