"""DEKR's two heads in plain tensor code, under its authors' names; shares nothing with the product.

Follows "Bottom-Up Human Pose Estimation via Disentangled Keypoint Regression" and its code's conventions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from support.plain_layers import (
    CHANNELS_PER_JOINT,
    basic_block,
    basic_block_shapes,
    conv_norm,
    deformed,
    norm,
    norm_shapes,
)
from torch import Tensor

ADAPTIVE_BLOCKS = 2


def head_shapes(features: int, heatmap_channels: int, joints: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the heads' tensors in an official file."""
    one = CHANNELS_PER_JOINT
    shapes: dict[str, tuple[int, ...]] = {}
    for name, channels in (("transition_heatmap", heatmap_channels), ("transition_offset", joints * one)):
        shapes[f"{name}.0.weight"] = (channels, features, 1, 1)
        shapes |= norm_shapes(f"{name}.1", channels)
    shapes |= basic_block_shapes("head_heatmap.0.0", heatmap_channels)
    shapes |= _with_bias("head_heatmap.1", heatmap_channels, joints + 1, 1)
    for joint in range(joints):
        for index in range(ADAPTIVE_BLOCKS):
            block = f"offset_feature_layers.{joint}.{index}"
            shapes[f"{block}.regular_matrix"] = (2, 9)
            shapes |= _with_bias(f"{block}.transform_matrix_conv", one, 4, 3)
            shapes |= _with_bias(f"{block}.translation_conv", one, 2, 3)
            shapes[f"{block}.adapt_conv.weight"] = (one, one, 3, 3)
            shapes |= norm_shapes(f"{block}.bn", one)
        shapes |= _with_bias(f"offset_final_layer.{joint}", one, 2, 1)
    return shapes


def heatmaps_and_offsets(weights: dict[str, Tensor], features: Tensor) -> tuple[Tensor, Tensor]:
    """[B, C, H, W] concatenated branches to heatmaps [B, K+1, H, W] and offsets [B, 2K, H, W], x before y."""
    heat = F.relu(conv_norm(weights, "transition_heatmap.0", "transition_heatmap.1", features))
    heat = _biased(weights, "head_heatmap.1", basic_block(weights, "head_heatmap.0.0", heat))
    of_joints = F.relu(conv_norm(weights, "transition_offset.0", "transition_offset.1", features))
    offsets = []
    for joint, x in enumerate(of_joints.split(CHANNELS_PER_JOINT, dim=1)):
        for index in range(ADAPTIVE_BLOCKS):
            x = _adaptive_block(weights, f"offset_feature_layers.{joint}.{index}", x)
        offsets.append(_biased(weights, f"offset_final_layer.{joint}", x))
    return heat, torch.cat(offsets, dim=1)


def _adaptive_block(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Every cell bends the 3x3 grid by its own 2x2 matrix and moves it by its own (y, x)."""
    regular = weights[f"{name}.regular_matrix"]
    matrix = _biased(weights, f"{name}.transform_matrix_conv", x).unflatten(1, (2, 2))
    translation = _biased(weights, f"{name}.translation_conv", x)
    moved = torch.einsum("bijhw,jt->btihw", matrix, regular) - regular.T[None, :, :, None, None]
    out = deformed(x, weights[f"{name}.adapt_conv.weight"], moved + translation[:, None])
    return F.relu(norm(weights, f"{name}.bn", out) + x)


def _biased(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    kernel = weights[f"{name}.weight"]
    return F.conv2d(x, kernel, weights[f"{name}.bias"], padding=kernel.shape[-1] // 2)


def _with_bias(name: str, before: int, after: int, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (after, before, size, size), f"{name}.bias": (after,)}
