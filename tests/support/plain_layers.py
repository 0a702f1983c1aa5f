"""Stand-in tensors and plain tensor code that the references share; nothing of the product's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

REGULAR_MATRIX = torch.tensor(
    [[-1, -1, -1, 0, 0, 0, 1, 1, 1], [-1, 0, 1, -1, 0, 1, -1, 0, 1], [1] * 9], dtype=torch.float32
)
"""Rows: y and x of the 3x3 grid, which DEKR keeps, and mmpose's third row for the translation."""

CHANNELS_PER_JOINT = 15


def norm_shapes(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a batch normalisation's tensors."""
    leaves = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{leaf}": (channels,) for leaf in leaves} | {f"{name}.num_batches_tracked": ()}


def conv_norm_shapes(
    conv: str, norm_name: str, before: int, after: int, size: int
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of `conv_norm`'s tensors, for a square kernel of `size`."""
    return {f"{conv}.weight": (after, before, size, size)} | norm_shapes(norm_name, after)


def biased_conv_shapes(name: str, before: int, after: int, size: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of `biased_conv`'s tensors; `before` is what one group reads."""
    return {f"{name}.weight": (after, before, size, size), f"{name}.bias": (after,)}


def basic_block_shapes(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of `basic_block`'s tensors."""
    first = conv_norm_shapes(f"{name}.conv1", f"{name}.bn1", channels, channels, 3)
    return first | conv_norm_shapes(f"{name}.conv2", f"{name}.bn2", channels, channels, 3)


def random_tensors(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Tensors on a scale at which activations neither die nor blow up, and sampling moves by cells."""
    generator = np.random.default_rng(seed)
    return {name: _random_tensor(name, shape, generator) for name, shape in shapes.items()}


def norm(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Batch normalisation by the stored statistics."""
    mean, var, weight, bias = (
        weights[f"{name}.{leaf}"][:, None, None] for leaf in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def conv_norm(weights: dict[str, Tensor], conv: str, norm_name: str, x: Tensor, stride: int = 1) -> Tensor:
    """A convolution without bias, padded to keep the size at stride 1, and its batch normalisation."""
    kernel = weights[conv + ".weight"]
    return norm(weights, norm_name, F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2))


def biased_conv(weights: dict[str, Tensor], name: str, x: Tensor, groups: int = 1) -> Tensor:
    """A convolution with a bias, padded to keep the size."""
    kernel, bias = weights[name + ".weight"], weights[name + ".bias"]
    return F.conv2d(x, kernel, bias, padding=kernel.shape[-1] // 2, groups=groups)


def basic_block(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """ResNet's block of two 3x3 convolutions, its input added before the last ReLU."""
    inner = F.relu(conv_norm(weights, f"{name}.conv1", f"{name}.bn1", x))
    return F.relu(conv_norm(weights, f"{name}.conv2", f"{name}.bn2", inner) + x)


def deformed(x: Tensor, kernel: Tensor, offsets: Tensor) -> Tensor:
    """A deformable 3x3 convolution, tap by tap: sample at grid + tap + offset, bilinear, zero outside.

    Args:
        x: [B, C, H, W].
        kernel: [C', C, 3, 3].
        offsets: [B, 9, 2, H, W], y and x of every tap, cells.
    """
    height, columns = x.shape[-2:]
    rows = torch.arange(height, dtype=x.dtype)[:, None]
    cols = torch.arange(columns, dtype=x.dtype)[None, :]
    total = x.new_zeros((len(x), len(kernel), height, columns))
    for tap in range(9):
        y = rows + tap // 3 - 1 + offsets[:, tap, 0]
        x_position = cols + tap % 3 - 1 + offsets[:, tap, 1]
        grid = torch.stack([2 * x_position / (columns - 1) - 1, 2 * y / (height - 1) - 1], dim=-1)
        sample = F.grid_sample(x, grid, padding_mode="zeros", align_corners=True)
        total += torch.einsum("oi,bihw->bohw", kernel[:, :, tap // 3, tap % 3], sample)
    return total


def in_double(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """In double precision what differs is a convention and never rounding."""
    return {name: value.double() for name, value in tensors.items()}


def assert_same_maps(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> None:
    """Maps in double precision are equal up to rounding, and not for being nothing."""
    for mine, yours in zip(ours, theirs, strict=True):
        assert yours.abs().mean() > 0.1
        assert (mine - yours).abs().max() < 1e-6 * yours.abs().max()


def _random_tensor(name: str, shape: tuple[int, ...], generator: np.random.Generator) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.tensor(1000)
    if name.endswith("regular_matrix"):
        return REGULAR_MATRIX[: shape[0]].clone()
    noise = torch.from_numpy(generator.standard_normal(shape, np.float32))
    if name.endswith("running_var"):
        return 1 + 0.1 * noise.abs()
    if len(shape) == 1:
        return 1 + 0.1 * noise if name.endswith(".weight") else 0.3 * noise
    fan_in = noise[0].numel()
    return noise * fan_in**-0.5 * (0.3 if "transform_matrix" in name or "translation" in name else 1.0)
