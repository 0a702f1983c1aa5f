"""mmpose v1's DEKR head and rescoring network in plain tensor code: the yardstick for converted checkpoints.

Follows mmpose's published description and shares nothing with the product. All weights come from a dict under
mmpose's own names.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from support import plain_layers as plain
from torch import Tensor

HEATMAP = "head.heatmap_conv_layers."
DISPLACEMENT = "head.displacement_conv_layers."

LIMB_NAMES = {
    "coco": [
        "left_ankle-left_knee", "left_knee-left_hip", "right_ankle-right_knee", "right_knee-right_hip",
        "left_hip-right_hip", "left_shoulder-left_hip", "right_shoulder-right_hip",
        "left_shoulder-right_shoulder", "left_shoulder-left_elbow", "right_shoulder-right_elbow",
        "left_elbow-left_wrist", "right_elbow-right_wrist", "left_eye-right_eye", "nose-left_eye",
        "nose-right_eye", "left_eye-left_ear", "right_eye-right_ear", "left_ear-left_shoulder",
        "right_ear-right_shoulder",
    ],
    "crowdpose": [
        "left_ankle-left_knee", "left_knee-left_hip", "right_ankle-right_knee", "right_knee-right_hip",
        "left_hip-right_hip", "left_shoulder-left_hip", "right_shoulder-right_hip",
        "left_shoulder-right_shoulder", "left_shoulder-left_elbow", "right_shoulder-right_elbow",
        "left_elbow-left_wrist", "right_elbow-right_wrist", "head-neck", "right_shoulder-neck",
        "left_shoulder-neck",
    ],
}  # fmt: skip
"""`skeleton_info` of mmpose's data set descriptions, with CrowdPose's `top_head` under our name for it."""

NORM_INDEXES = {"coco": (5, 6), "crowdpose": (0, 1)}
"""`rescore_cfg.norm_indexes` of mmpose's configurations."""


def head_shapes(features: int, heatmap_channels: int, joints: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the head's tensors in an mmpose file."""
    one, width = plain.CHANNELS_PER_JOINT, joints * plain.CHANNELS_PER_JOINT
    shapes: dict[str, tuple[int, ...]] = {}
    for base, channels in ((HEATMAP, heatmap_channels), (DISPLACEMENT, width)):
        shapes |= plain.conv_norm_shapes(base + "0.conv", base + "0.bn", features, channels, 1)
    shapes |= plain.basic_block_shapes(HEATMAP + "1", heatmap_channels)
    for index in ("1", "2"):
        block = DISPLACEMENT + index
        shapes |= plain.biased_conv_shapes(block + ".transform_matrix_conv", one, 6 * joints, 3)
        shapes |= plain.conv_norm_shapes(block + ".adapt_conv", block + ".norm", one, width, 3)
        shapes[block + ".regular_matrix"] = (3, 9)
    shapes |= plain.biased_conv_shapes(HEATMAP + "2", heatmap_channels, joints + 1, 1)
    shapes |= plain.biased_conv_shapes(DISPLACEMENT + "3", one, 2 * joints, 1)
    return shapes


def rescore_shapes(features: int) -> dict[str, tuple[int, ...]]:
    """Names, without the head's prefix, and shapes of the rescoring network's tensors."""
    return {
        "l1.weight": (256, features), "l1.bias": (256,),
        "l2.weight": (256, 256), "l2.bias": (256,),
        "l3.weight": (1, 256), "l3.bias": (1,),
    }  # fmt: skip


def heatmaps_and_displacements(weights: dict[str, Tensor], features: Tensor) -> tuple[Tensor, Tensor]:
    """[B, C, H, W] concatenated branches to heatmaps [B, K+1, H, W] and displacements [B, 2K, H, W]."""
    heat = F.relu(plain.conv_norm(weights, HEATMAP + "0.conv", HEATMAP + "0.bn", features))
    heat = plain.biased_conv(weights, HEATMAP + "2", plain.basic_block(weights, HEATMAP + "1", heat))

    x = F.relu(plain.conv_norm(weights, DISPLACEMENT + "0.conv", DISPLACEMENT + "0.bn", features))
    for index in ("1", "2"):
        x = _adaptive_block(weights, DISPLACEMENT + index, x)
    joints = x.shape[1] // plain.CHANNELS_PER_JOINT
    return heat, plain.biased_conv(weights, DISPLACEMENT + "3", x, groups=joints)


def rescore(
    weights: dict[str, Tensor], skeleton: str, joints: tuple[str, ...], poses: Tensor, scores: Tensor
) -> Tensor:
    """[N, K, 2] px and [N, K] to the predicted OKS [N]."""
    pairs = [tuple(map(joints.index, limb.split("-"))) for limb in LIMB_NAMES[skeleton]]
    vectors = torch.stack([poses[:, first] - poses[:, second] for first, second in pairs], dim=1)
    lengths = vectors.norm(dim=2)
    first, second = NORM_INDEXES[skeleton]
    unit = ((lengths[:, first] + lengths[:, second]) / 2).clamp(min=1)[:, None]
    features = torch.cat([(vectors / unit[:, :, None]).flatten(1), lengths / unit, scores], dim=1)
    hidden = F.relu(features @ weights["l1.weight"].T + weights["l1.bias"])
    hidden = F.relu(hidden @ weights["l2.weight"].T + weights["l2.bias"])
    return (hidden @ weights["l3.weight"].T + weights["l3.bias"])[:, 0]


def _adaptive_block(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    batch, width, height, columns = x.shape
    joints = width // plain.CHANNELS_PER_JOINT
    affine = plain.biased_conv(weights, name + ".transform_matrix_conv", x, groups=joints)
    affine = affine.permute(0, 2, 3, 1).reshape(batch, height, columns, joints, 2, 3)
    offsets = affine @ weights[name + ".regular_matrix"]  # B, H, W, joint, (y, x), tap
    offsets = offsets.permute(0, 3, 5, 4, 1, 2)
    kernels = weights[name + ".adapt_conv.weight"].split(plain.CHANNELS_PER_JOINT)
    of_joints = x.split(plain.CHANNELS_PER_JOINT, dim=1)
    sampled = torch.cat(list(map(plain.deformed, of_joints, kernels, offsets.unbind(dim=1))), dim=1)
    return F.relu(plain.norm(weights, name + ".norm", sampled) + x)
