"""An adaptive block in one Triton kernel: nothing between its input and its output touches memory.

A program computes some cells of one joint. The affine convolution is nine small products whose result stays
in registers, in float32; then each tap gathers four neighbours of 16 channels (a row of 32 bytes in
bfloat16), blends them, and is multiplied with its 16x16 weights; batch norm, shortcut and ReLU end the sum.

Imported where there is a GPU only: Triton comes with torch's CUDA builds.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from posrefine.inference.fast.on_device import on_device
from posrefine.inference.fast.stacked import CHANNELS, AdaptiveWeights

__all__ = ["triton_adaptive_block"]

_CELLS_PER_PROGRAM = 64


def triton_adaptive_block(x: Tensor, weights: AdaptiveWeights) -> Tensor:
    """Computes an adaptive block.

    Args:
        x: [B, K * 16, H, W] channels-last, float32 or bfloat16.
        weights: on the same device, matrices in the same dtype.

    Returns:
        Like x.
    """
    batch, width, height, columns = x.shape
    cell_count = batch * height * columns
    out = torch.empty_like(x, memory_format=torch.channels_last)
    # Triton launches on the current device, wherever the pointers point.
    with on_device(x.device):
        _adaptive_block[(triton.cdiv(cell_count, _CELLS_PER_PROGRAM), width // CHANNELS)](
            x,
            out,
            weights.affine,
            weights.affine_bias,
            weights.weight,
            weights.shift,
            cell_count,
            height,
            columns,
            width,
            size=CHANNELS,
            at_once=_CELLS_PER_PROGRAM,
        )
    return out


@triton.jit
def _adaptive_block(
    x_ptr,
    out_ptr,
    affine_ptr,
    affine_bias_ptr,
    weight_ptr,
    shift_ptr,
    cell_count,
    height,
    columns,
    width,
    size: tl.constexpr,
    at_once: tl.constexpr,
):
    joint = tl.program_id(1)
    cell = tl.program_id(0) * at_once + tl.arange(0, at_once)
    channel = tl.arange(0, size)
    exists = cell < cell_count
    column = cell % columns
    row = (cell // columns) % height
    first = (cell // (height * columns)) * (height * columns)
    x_ptr += joint * size
    # Affine map: an ordinary 3x3 convolution.
    sums = tl.zeros((at_once, size), tl.float32) + tl.load(affine_bias_ptr + joint * size + channel)[None, :]
    for tap in range(9):
        y = row + tap // 3 - 1
        x = column + tap % 3 - 1
        inside = exists & (y >= 0) & (y < height) & (x >= 0) & (x < columns)
        values = _rows(x_ptr, first + y * columns + x, inside, width, channel)
        sums = tl.dot(values, _matrix(affine_ptr, joint, tap, channel, size), sums, input_precision="ieee")
    a_yy = _column(sums, channel, 0)
    a_yx = _column(sums, channel, 1)
    a_xy = _column(sums, channel, 2)
    a_xx = _column(sums, channel, 3)
    centre_y = row + _column(sums, channel, 4)
    centre_x = column + _column(sums, channel, 5)
    # Nine taps where the affine map puts them.
    out = tl.zeros((at_once, size), tl.float32) + tl.load(shift_ptr + joint * size + channel)[None, :]
    for tap in range(9):
        step_y = tap // 3 - 1
        step_x = tap % 3 - 1
        # Far outside is outside; the limits keep the conversion to integers defined.
        y = _limited(centre_y + a_yy * step_y + a_yx * step_x, height)
        x = _limited(centre_x + a_xy * step_y + a_xx * step_x, columns)
        top = tl.floor(y)
        left = tl.floor(x)
        blend = _corner(x_ptr, first, top, left, y, x, exists, height, columns, width, channel)
        blend += _corner(x_ptr, first, top, left + 1, y, x, exists, height, columns, width, channel)
        blend += _corner(x_ptr, first, top + 1, left, y, x, exists, height, columns, width, channel)
        blend += _corner(x_ptr, first, top + 1, left + 1, y, x, exists, height, columns, width, channel)
        samples = blend.to(weight_ptr.dtype.element_ty)
        out = tl.dot(samples, _matrix(weight_ptr, joint, tap, channel, size), out, input_precision="ieee")
    out += _rows(x_ptr, cell, exists, width, channel).to(tl.float32)
    out = tl.maximum(out, 0.0).to(out_ptr.dtype.element_ty)
    place = cell.to(tl.int64)[:, None] * width + joint * size + channel[None, :]
    tl.store(out_ptr + place, out, mask=exists[:, None])


@triton.jit
def _rows(x_ptr, cell, mask, width, channel):
    place = cell.to(tl.int64)[:, None] * width + channel[None, :]
    return tl.load(x_ptr + place, mask=mask[:, None], other=0.0)


@triton.jit
def _matrix(ptr, joint, tap, channel, size: tl.constexpr):
    return tl.load(ptr + (joint * 9 + tap) * size * size + channel[:, None] * size + channel[None, :])


@triton.jit
def _column(values, channel, index: tl.constexpr):
    return tl.sum(tl.where(channel[None, :] == index, values, 0.0), axis=1)


@triton.jit
def _limited(position, length):
    # A comparison with NaN is false: such a position lies outside, too.
    return tl.where((position > -2.0) & (position < length + 1.0), position, -2.0)


@triton.jit
def _corner(
    x_ptr,
    first,
    corner_y,
    corner_x,
    y,
    x,
    exists,
    height,
    columns,
    width,
    channel,
):
    inside = exists & (corner_y >= 0) & (corner_y < height) & (corner_x >= 0) & (corner_x < columns)
    weight = (1.0 - tl.abs(y - corner_y)) * (1.0 - tl.abs(x - corner_x))
    cell = first + corner_y.to(tl.int32) * columns + corner_x.to(tl.int32)
    return _rows(x_ptr, cell, inside, width, channel).to(tl.float32) * weight[:, None]
