"""HRNet's trunk in plain tensor code, under its authors' names; shares nothing with the product.

Follows "Deep High-Resolution Representation Learning for Visual Recognition": a stem, four bottlenecks, and
three stages of two, three and four resolutions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from support import plain_layers as plain
from torch import Tensor

MODULES = {"stage2": 1, "stage3": 4, "stage4": 3}
BRANCHES = {"stage2": 2, "stage3": 3, "stage4": 4}
BLOCKS, STEM_WIDTH, BOTTLENECKS, BOTTLENECK_OUT = 4, 64, 4, 256


def trunk_shapes(width: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the trunk's tensors; `width` is 32 or 48, the channels of the finest branch."""
    shapes = plain.conv_norm_shapes("conv1", "bn1", 3, STEM_WIDTH, 3)
    shapes |= plain.conv_norm_shapes("conv2", "bn2", STEM_WIDTH, STEM_WIDTH, 3)
    before = STEM_WIDTH
    for index in range(BOTTLENECKS):
        block = f"layer1.{index}"
        shapes |= plain.conv_norm_shapes(f"{block}.conv1", f"{block}.bn1", before, STEM_WIDTH, 1)
        shapes |= plain.conv_norm_shapes(f"{block}.conv2", f"{block}.bn2", STEM_WIDTH, STEM_WIDTH, 3)
        shapes |= plain.conv_norm_shapes(f"{block}.conv3", f"{block}.bn3", STEM_WIDTH, BOTTLENECK_OUT, 1)
        before = BOTTLENECK_OUT
    for name, before, after, size in (
        ("layer1.0.downsample", STEM_WIDTH, BOTTLENECK_OUT, 1),
        ("transition1.0", BOTTLENECK_OUT, width, 3),
        ("transition1.1.0", BOTTLENECK_OUT, 2 * width, 3),
        ("transition2.2.0", 2 * width, 4 * width, 3),
        ("transition3.3.0", 4 * width, 8 * width, 3),
    ):
        shapes |= plain.conv_norm_shapes(f"{name}.0", f"{name}.1", before, after, size)
    for stage, modules in MODULES.items():
        for module in range(modules):
            shapes |= _module_shapes(f"{stage}.{module}", [width * 2**k for k in range(BRANCHES[stage])])
    return shapes


def branches(weights: dict[str, Tensor], images: Tensor) -> list[Tensor]:
    """[B, 3, H, W] normalised images to four branches, finest first: [B, w 2^k, H / 2^(k+2), W / 2^(k+2)]."""
    x = F.relu(plain.conv_norm(weights, "conv1", "bn1", images, stride=2))
    x = F.relu(plain.conv_norm(weights, "conv2", "bn2", x, stride=2))
    for index in range(BOTTLENECKS):
        x = _bottleneck(weights, f"layer1.{index}", x)
    maps = [
        F.relu(plain.conv_norm(weights, "transition1.0.0", "transition1.0.1", x)),
        F.relu(plain.conv_norm(weights, "transition1.1.0.0", "transition1.1.0.1", x, stride=2)),
    ]
    for stage, new in (("stage2", None), ("stage3", "transition2.2.0"), ("stage4", "transition3.3.0")):
        if new:
            maps.append(F.relu(plain.conv_norm(weights, f"{new}.0", f"{new}.1", maps[-1], stride=2)))
        for module in range(MODULES[stage]):
            maps = _module(weights, f"{stage}.{module}", maps)
    return maps


def features(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """What DEKR's heads read: all branches, bilinearly enlarged to the finest one. [B, 15w, H/4, W/4]."""
    maps = branches(weights, images)
    size = maps[0].shape[-2:]
    return torch.cat([F.interpolate(x, size, mode="bilinear", align_corners=False) for x in maps], dim=1)


def _bottleneck(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    inner = F.relu(plain.conv_norm(weights, f"{name}.conv1", f"{name}.bn1", x))
    inner = F.relu(plain.conv_norm(weights, f"{name}.conv2", f"{name}.bn2", inner))
    inner = plain.conv_norm(weights, f"{name}.conv3", f"{name}.bn3", inner)
    if f"{name}.downsample.0.weight" in weights:
        x = plain.conv_norm(weights, f"{name}.downsample.0", f"{name}.downsample.1", x)
    return F.relu(inner + x)


def _module(weights: dict[str, Tensor], name: str, maps: list[Tensor]) -> list[Tensor]:
    maps = list(maps)
    for branch in range(len(maps)):
        for block in range(BLOCKS):
            maps[branch] = plain.basic_block(weights, f"{name}.branches.{branch}.{block}", maps[branch])
    return [
        F.relu(sum(_moved(weights, name, source, target, x) for source, x in enumerate(maps)))
        for target in range(len(maps))
    ]


def _moved(weights: dict[str, Tensor], module: str, source: int, target: int, x: Tensor) -> Tensor:
    """A branch's map at another branch's resolution and width."""
    name = f"{module}.fuse_layers.{target}.{source}"
    if source > target:
        small = plain.conv_norm(weights, f"{name}.0", f"{name}.1", x)
        factor = 2 ** (source - target)
        return small.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
    for step in range(target - source):
        x = plain.conv_norm(weights, f"{name}.{step}.0", f"{name}.{step}.1", x, stride=2)
        if step < target - source - 1:
            x = F.relu(x)
    return x


def _module_shapes(name: str, widths: list[int]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for branch, width in enumerate(widths):
        for block in range(BLOCKS):
            shapes |= plain.basic_block_shapes(f"{name}.branches.{branch}.{block}", width)
    for target in range(len(widths)):
        for source in range(len(widths)):
            fuse = f"{name}.fuse_layers.{target}.{source}"
            if source > target:
                shapes |= plain.conv_norm_shapes(f"{fuse}.0", f"{fuse}.1", widths[source], widths[target], 1)
            for step in range(target - source):
                before, after = widths[source], widths[target if step == target - source - 1 else source]
                shapes |= plain.conv_norm_shapes(f"{fuse}.{step}.0", f"{fuse}.{step}.1", before, after, 3)
    return shapes
