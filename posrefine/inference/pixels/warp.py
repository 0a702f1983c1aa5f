"""OpenCV 4's bilinear warpAffine on whole batches, in integer tensor operations, equal to the last bit.

OpenCV rounds sample positions to 1/32 px in 10-bit fixed point and weighs pixels by a 32x32 table in 15 bit,
`(sum * 32 + 2**14) >> 15`; outside the image is black. Our maps have no rotation, so the table splits into 32
steps along each axis, and a warp is two gathers with integer weights. (OpenCV 5 works in float32: other
pixels, by up to some grey levels on noise.)
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from posrefine.inference.pixels.affine import Affine

__all__ = ["warp"]

_STEPS = 32
"""Interpolation positions between two pixels."""
_FIXED_POINT = 1024
"""Sample positions are sums of numbers rounded to this fraction of a pixel."""


def warp(images: Tensor, affine: Affine, input_hw: tuple[int, int]) -> Tensor:
    """Samples equally sized images at the pixels of the network input.

    Args:
        images: [B, H, W, 3] uint8.
        affine: from input px to image px.
        input_hw: height and width to sample.

    Returns:
        [B, 3, *input_hw] uint8, on the images' device.
    """
    rows = _row_taps(affine, input_hw[0], images.shape[1], images.device)
    columns = _column_taps(affine, input_hw[1], images.shape[2], images.device)
    sums = _interpolate(_interpolate(images, 1, rows, torch.int16), 2, columns, torch.int32)
    half, bits = _STEPS * _STEPS // 2, 10
    return ((sums + half) >> bits).to(torch.uint8).permute(0, 3, 1, 2)


def _interpolate(values: Tensor, dim: int, taps: Tensor, dtype: torch.dtype) -> Tensor:
    """Weighted sum of two neighbours along `dim`, 32 times their mean, in a type that holds it."""
    lower, upper, lower_weight, upper_weight = taps
    shape = [-1] + [1] * (values.ndim - 1 - dim)
    below: Tensor = values.index_select(dim, lower).to(dtype) * lower_weight.to(dtype).view(shape)
    return below.addcmul_(values.index_select(dim, upper).to(dtype), upper_weight.to(dtype).view(shape))


@lru_cache(maxsize=1024)
def _column_taps(affine: Affine, width: int, image_width: int, device: torch.device) -> Tensor:
    # warpAffine rounds the step from the row's start and the start itself apart along x, together along y.
    steps = np.rint(affine.scale_x * np.arange(width) * _FIXED_POINT)
    return _taps(steps + np.rint(affine.shift_x * _FIXED_POINT), image_width, device)


@lru_cache(maxsize=1024)
def _row_taps(affine: Affine, height: int, image_height: int, device: torch.device) -> Tensor:
    positions = np.rint((affine.scale_y * np.arange(height) + affine.shift_y) * _FIXED_POINT)
    return _taps(positions, image_height, device)


def _taps(positions: NDArray[np.float64], length: int, device: torch.device) -> Tensor:
    """[4, N] int64: lower and upper neighbour, and their weights in 1/32, 0 outside the image.

    Args:
        positions: [N], where to sample, in 1/1024 px.
        length: pixels of the image along this axis.
        device: where the taps are needed.
    """
    rounding = _FIXED_POINT // _STEPS // 2
    position = (positions.astype(np.int64) + rounding) // (_FIXED_POINT // _STEPS)
    lower, fraction = position // _STEPS, position % _STEPS
    neighbours = np.stack([lower, lower + 1])
    weights = np.stack([_STEPS - fraction, fraction])
    inside = (neighbours >= 0) & (neighbours < length)
    taps = np.concatenate([neighbours.clip(0, length - 1), np.where(inside, weights, 0)])
    return torch.from_numpy(taps).to(device)
