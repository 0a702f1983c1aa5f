"""HRNet's trunk in plain tensor code, under its authors' names; shares nothing with the product.

Follows "Deep High-Resolution Representation Learning for Visual Recognition": a stem, four bottlenecks, and
three stages of two, three and four resolutions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from support.plain_layers import basic_block, basic_block_shapes, conv_norm, norm_shapes
from torch import Tensor

MODULES = {"stage2": 1, "stage3": 4, "stage4": 3}
BRANCHES = {"stage2": 2, "stage3": 3, "stage4": 4}
BLOCKS, STEM_WIDTH, BOTTLENECKS, BOTTLENECK_OUT = 4, 64, 4, 256


def trunk_shapes(width: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the trunk's tensors; `width` is 32 or 48, the channels of the finest branch."""
    shapes = _conv_shapes("conv1", "bn1", 3, STEM_WIDTH, 3) | _conv_shapes(
        "conv2", "bn2", STEM_WIDTH, STEM_WIDTH, 3
    )
    for index in range(BOTTLENECKS):
        block, before = f"layer1.{index}", STEM_WIDTH if index == 0 else BOTTLENECK_OUT
        shapes |= _conv_shapes(f"{block}.conv1", f"{block}.bn1", before, STEM_WIDTH, 1)
        shapes |= _conv_shapes(f"{block}.conv2", f"{block}.bn2", STEM_WIDTH, STEM_WIDTH, 3)
        shapes |= _conv_shapes(f"{block}.conv3", f"{block}.bn3", STEM_WIDTH, BOTTLENECK_OUT, 1)
    shapes |= _conv_shapes("layer1.0.downsample.0", "layer1.0.downsample.1", STEM_WIDTH, BOTTLENECK_OUT, 1)
    shapes |= _conv_shapes("transition1.0.0", "transition1.0.1", BOTTLENECK_OUT, width, 3)
    shapes |= _conv_shapes("transition1.1.0.0", "transition1.1.0.1", BOTTLENECK_OUT, 2 * width, 3)
    shapes |= _conv_shapes("transition2.2.0.0", "transition2.2.0.1", 2 * width, 4 * width, 3)
    shapes |= _conv_shapes("transition3.3.0.0", "transition3.3.0.1", 4 * width, 8 * width, 3)
    for stage, modules in MODULES.items():
        for module in range(modules):
            shapes |= _module_shapes(f"{stage}.{module}", [width * 2**k for k in range(BRANCHES[stage])])
    return shapes


def branches(weights: dict[str, Tensor], images: Tensor) -> list[Tensor]:
    """[B, 3, H, W] normalised images to four branches, finest first: [B, w 2^k, H / 2^(k+2), W / 2^(k+2)]."""
    x = F.relu(conv_norm(weights, "conv1", "bn1", images, stride=2))
    x = F.relu(conv_norm(weights, "conv2", "bn2", x, stride=2))
    for index in range(BOTTLENECKS):
        x = _bottleneck(weights, f"layer1.{index}", x)
    maps = [
        F.relu(conv_norm(weights, "transition1.0.0", "transition1.0.1", x)),
        F.relu(conv_norm(weights, "transition1.1.0.0", "transition1.1.0.1", x, stride=2)),
    ]
    for stage, new in (("stage2", None), ("stage3", "transition2.2.0"), ("stage4", "transition3.3.0")):
        if new:
            maps.append(F.relu(conv_norm(weights, f"{new}.0", f"{new}.1", maps[-1], stride=2)))
        for module in range(MODULES[stage]):
            maps = _module(weights, f"{stage}.{module}", maps)
    return maps


def features(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """What DEKR's heads read: all branches, bilinearly enlarged to the finest one. [B, 15w, H/4, W/4]."""
    maps = branches(weights, images)
    size = maps[0].shape[-2:]
    return torch.cat([F.interpolate(x, size, mode="bilinear", align_corners=False) for x in maps], dim=1)


def _bottleneck(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    inner = F.relu(conv_norm(weights, f"{name}.conv1", f"{name}.bn1", x))
    inner = F.relu(conv_norm(weights, f"{name}.conv2", f"{name}.bn2", inner))
    inner = conv_norm(weights, f"{name}.conv3", f"{name}.bn3", inner)
    if f"{name}.downsample.0.weight" in weights:
        x = conv_norm(weights, f"{name}.downsample.0", f"{name}.downsample.1", x)
    return F.relu(inner + x)


def _module(weights: dict[str, Tensor], name: str, maps: list[Tensor]) -> list[Tensor]:
    maps = list(maps)
    for branch in range(len(maps)):
        for block in range(BLOCKS):
            maps[branch] = basic_block(weights, f"{name}.branches.{branch}.{block}", maps[branch])
    return [
        F.relu(
            torch.stack([_moved(weights, name, source, target, x) for source, x in enumerate(maps)]).sum(
                dim=0
            )
        )
        for target in range(len(maps))
    ]


def _moved(weights: dict[str, Tensor], module: str, source: int, target: int, x: Tensor) -> Tensor:
    """A branch's map at another branch's resolution and width."""
    name = f"{module}.fuse_layers.{target}.{source}"
    if source > target:
        small = conv_norm(weights, f"{name}.0", f"{name}.1", x)
        factor = 2 ** (source - target)
        return small.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)
    for step in range(target - source):
        x = conv_norm(weights, f"{name}.{step}.0", f"{name}.{step}.1", x, stride=2)
        if step < target - source - 1:
            x = F.relu(x)
    return x


def _module_shapes(name: str, widths: list[int]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for branch, width in enumerate(widths):
        for block in range(BLOCKS):
            shapes |= basic_block_shapes(f"{name}.branches.{branch}.{block}", width)
    for target in range(len(widths)):
        for source in range(len(widths)):
            fuse = f"{name}.fuse_layers.{target}.{source}"
            if source > target:
                shapes |= _conv_shapes(f"{fuse}.0", f"{fuse}.1", widths[source], widths[target], 1)
            for step in range(target - source):
                after = widths[target] if step == target - source - 1 else widths[source]
                shapes |= _conv_shapes(f"{fuse}.{step}.0", f"{fuse}.{step}.1", widths[source], after, 3)
    return shapes


def _conv_shapes(conv: str, norm: str, before: int, after: int, size: int) -> dict[str, tuple[int, ...]]:
    return {f"{conv}.weight": (after, before, size, size)} | norm_shapes(norm, after)
