"""mmpose v1's DEKR head and rescoring network in plain tensor code: the yardstick for converted checkpoints.

Follows mmpose's published description and shares nothing with the product. All weights come from a dict under
mmpose's own names.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

HEATMAP = "head.heatmap_conv_layers."
DISPLACEMENT = "head.displacement_conv_layers."
REGULAR_MATRIX = torch.tensor(
    [[-1, -1, -1, 0, 0, 0, 1, 1, 1], [-1, 0, 1, -1, 0, 1, -1, 0, 1], [1] * 9], dtype=torch.float32
)
CHANNELS_PER_JOINT = 15

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
    width = joints * CHANNELS_PER_JOINT
    shapes: dict[str, tuple[int, ...]] = {}
    for base, channels in ((HEATMAP, heatmap_channels), (DISPLACEMENT, width)):
        shapes[base + "0.conv.weight"] = (channels, features, 1, 1)
        shapes |= _norm_shapes(base + "0.bn", channels)
    for index in ("1", "2"):
        shapes[f"{HEATMAP}1.conv{index}.weight"] = (heatmap_channels, heatmap_channels, 3, 3)
        shapes |= _norm_shapes(f"{HEATMAP}1.bn{index}", heatmap_channels)
        block = DISPLACEMENT + index
        shapes[block + ".transform_matrix_conv.weight"] = (6 * joints, CHANNELS_PER_JOINT, 3, 3)
        shapes[block + ".transform_matrix_conv.bias"] = (6 * joints,)
        shapes[block + ".adapt_conv.weight"] = (width, CHANNELS_PER_JOINT, 3, 3)
        shapes[block + ".regular_matrix"] = (3, 9)
        shapes |= _norm_shapes(block + ".norm", width)
    shapes[HEATMAP + "2.weight"] = (joints + 1, heatmap_channels, 1, 1)
    shapes[HEATMAP + "2.bias"] = (joints + 1,)
    shapes[DISPLACEMENT + "3.weight"] = (2 * joints, CHANNELS_PER_JOINT, 1, 1)
    shapes[DISPLACEMENT + "3.bias"] = (2 * joints,)
    return shapes


def rescore_shapes(features: int) -> dict[str, tuple[int, ...]]:
    """Names, without the head's prefix, and shapes of the rescoring network's tensors."""
    return {
        "l1.weight": (256, features), "l1.bias": (256,),
        "l2.weight": (256, 256), "l2.bias": (256,),
        "l3.weight": (1, 256), "l3.bias": (1,),
    }  # fmt: skip


def random_tensors(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    """Tensors on a scale at which activations neither die nor blow up, and sampling moves by cells."""
    generator = np.random.default_rng(seed)
    return {name: _random_tensor(name, shape, generator) for name, shape in shapes.items()}


def heatmaps_and_displacements(weights: dict[str, Tensor], features: Tensor) -> tuple[Tensor, Tensor]:
    """[B, C, H, W] concatenated branches to heatmaps [B, K+1, H, W] and displacements [B, 2K, H, W]."""
    first, block, last = HEATMAP + "0.", HEATMAP + "1.", HEATMAP + "2."
    heat = F.relu(_norm(weights, first + "bn", F.conv2d(features, weights[first + "conv.weight"])))
    inner = F.conv2d(heat, weights[block + "conv1.weight"], padding=1)
    inner = F.conv2d(F.relu(_norm(weights, block + "bn1", inner)), weights[block + "conv2.weight"], padding=1)
    heat = F.relu(_norm(weights, block + "bn2", inner) + heat)
    heat = F.conv2d(heat, weights[last + "weight"], weights[last + "bias"])

    x = F.conv2d(features, weights[DISPLACEMENT + "0.conv.weight"])
    x = F.relu(_norm(weights, DISPLACEMENT + "0.bn", x))
    for index in ("1", "2"):
        x = _adaptive_block(weights, DISPLACEMENT + index, x)
    kernel = weights[DISPLACEMENT + "3.weight"]
    return heat, F.conv2d(x, kernel, weights[DISPLACEMENT + "3.bias"], groups=kernel.shape[0] // 2)


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


def _norm_shapes(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    leaves = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{leaf}": (channels,) for leaf in leaves} | {f"{name}.num_batches_tracked": ()}


def _random_tensor(name: str, shape: tuple[int, ...], generator: np.random.Generator) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.tensor(1000)
    if name.endswith("regular_matrix"):
        return REGULAR_MATRIX.clone()
    noise = torch.from_numpy(generator.standard_normal(shape, np.float32))
    if name.endswith("running_var"):
        return 1 + 0.1 * noise.abs()
    if len(shape) == 1:
        return 1 + 0.1 * noise if name.endswith(".weight") else 0.3 * noise
    fan_in = noise[0].numel()
    return noise * fan_in**-0.5 * (0.3 if "transform_matrix" in name else 1.0)


def _norm(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    mean, var, weight, bias = (
        weights[f"{name}.{leaf}"][:, None, None] for leaf in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def _adaptive_block(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    batch, width, height, columns = x.shape
    joints = width // CHANNELS_PER_JOINT
    affine = F.conv2d(
        x,
        weights[name + ".transform_matrix_conv.weight"],
        weights[name + ".transform_matrix_conv.bias"],
        padding=1,
        groups=joints,
    )
    affine = affine.permute(0, 2, 3, 1).reshape(batch, height, columns, joints, 2, 3)
    offsets = affine @ weights[name + ".regular_matrix"]  # B, H, W, joint, (y, x), tap
    offsets = offsets.permute(0, 3, 5, 4, 1, 2)
    kernel = weights[name + ".adapt_conv.weight"]
    sampled = torch.stack(
        [_deformed(x, kernel, offsets[:, joint], joint) for joint in range(joints)], dim=1
    ).flatten(1, 2)
    return F.relu(_norm(weights, name + ".norm", sampled) + x)


def _deformed(x: Tensor, kernel: Tensor, offsets: Tensor, joint: int) -> Tensor:
    """The deformable 3x3 convolution of one joint's channels, tap by tap: sample at grid + tap + offset."""
    _, _, height, columns = x.shape
    own = slice(joint * CHANNELS_PER_JOINT, (joint + 1) * CHANNELS_PER_JOINT)
    rows = torch.arange(height, dtype=x.dtype)[:, None]
    cols = torch.arange(columns, dtype=x.dtype)[None, :]
    total = torch.zeros_like(x[:, own])
    for tap in range(9):
        y = rows + tap // 3 - 1 + offsets[:, tap, 0]
        x_position = cols + tap % 3 - 1 + offsets[:, tap, 1]
        grid = torch.stack([2 * x_position / (columns - 1) - 1, 2 * y / (height - 1) - 1], dim=-1)
        sample = F.grid_sample(x[:, own], grid, padding_mode="zeros", align_corners=True)
        total += torch.einsum("oi,bihw->bohw", kernel[own, :, tap // 3, tap % 3], sample)
    return total
