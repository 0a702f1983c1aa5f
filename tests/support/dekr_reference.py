"""DEKR's two heads in plain tensor code, under its authors' names; shares nothing with the product.

Follows "Bottom-Up Human Pose Estimation via Disentangled Keypoint Regression" and its code's conventions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from support import plain_layers as plain
from torch import Tensor

ADAPTIVE_BLOCKS = 2


def head_shapes(features: int, heatmap_channels: int, joints: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the heads' tensors in an official file."""
    one = plain.CHANNELS_PER_JOINT
    shapes: dict[str, tuple[int, ...]] = {}
    for name, channels in (("transition_heatmap", heatmap_channels), ("transition_offset", joints * one)):
        shapes |= plain.conv_norm_shapes(f"{name}.0", f"{name}.1", features, channels, 1)
    shapes |= plain.basic_block_shapes("head_heatmap.0.0", heatmap_channels)
    shapes |= plain.biased_conv_shapes("head_heatmap.1", heatmap_channels, joints + 1, 1)
    for joint in range(joints):
        for index in range(ADAPTIVE_BLOCKS):
            block = f"offset_feature_layers.{joint}.{index}"
            shapes[f"{block}.regular_matrix"] = (2, 9)
            shapes |= plain.biased_conv_shapes(f"{block}.transform_matrix_conv", one, 4, 3)
            shapes |= plain.biased_conv_shapes(f"{block}.translation_conv", one, 2, 3)
            shapes |= plain.conv_norm_shapes(f"{block}.adapt_conv", f"{block}.bn", one, one, 3)
        shapes |= plain.biased_conv_shapes(f"offset_final_layer.{joint}", one, 2, 1)
    return shapes


def heatmaps_and_offsets(weights: dict[str, Tensor], features: Tensor) -> tuple[Tensor, Tensor]:
    """[B, C, H, W] concatenated branches to heatmaps [B, K+1, H, W] and offsets [B, 2K, H, W], x before y."""
    heat = F.relu(plain.conv_norm(weights, "transition_heatmap.0", "transition_heatmap.1", features))
    heat = plain.biased_conv(weights, "head_heatmap.1", plain.basic_block(weights, "head_heatmap.0.0", heat))
    of_joints = F.relu(plain.conv_norm(weights, "transition_offset.0", "transition_offset.1", features))
    offsets = []
    for joint, x in enumerate(of_joints.split(plain.CHANNELS_PER_JOINT, dim=1)):
        for index in range(ADAPTIVE_BLOCKS):
            x = _adaptive_block(weights, f"offset_feature_layers.{joint}.{index}", x)
        offsets.append(plain.biased_conv(weights, f"offset_final_layer.{joint}", x))
    return heat, torch.cat(offsets, dim=1)


def _adaptive_block(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Every cell bends the 3x3 grid by its own 2x2 matrix and moves it by its own (y, x)."""
    regular = weights[f"{name}.regular_matrix"]
    matrix = plain.biased_conv(weights, f"{name}.transform_matrix_conv", x).unflatten(1, (2, 2))
    translation = plain.biased_conv(weights, f"{name}.translation_conv", x)
    moved = torch.einsum("bijhw,jt->btihw", matrix, regular) - regular.T[None, :, :, None, None]
    out = plain.deformed(x, weights[f"{name}.adapt_conv.weight"], moved + translation[:, None])
    return F.relu(plain.norm(weights, f"{name}.bn", out) + x)
