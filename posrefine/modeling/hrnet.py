"""HRNet: parallel branches at 1/4, 1/8, 1/16 and 1/32 resolution that keep exchanging what they see.

Follows Sun et al., "Deep High-Resolution Representation Learning for Human Pose Estimation" (CVPR 2019).
Modules are named as in the public code, so that its checkpoints and DEKR's load by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["BasicBlock", "HRNet", "HRNetSpec", "StageSpec", "conv_bn_relu"]


@dataclass(frozen=True)
class StageSpec:
    """One stage: how often its modules repeat, and how many residual blocks each branch of a module has."""

    modules: int
    blocks: int


@dataclass(frozen=True)
class HRNetSpec:
    """All numbers of an HRNet.

    Attributes:
        width: channels of the 1/4 branch; each coarser branch has twice those of the one before.
        stem_channels: channels of the two strided convolutions that bring the image to 1/4 resolution.
        bottlenecks: bottleneck blocks of `layer1`, at 1/4 resolution.
        bottleneck_planes: inner channels of those blocks; `layer1` puts out four times as many.
        stages: stages 2, 3 and 4, with two, three and four branches.
    """

    width: int
    stem_channels: int = 64
    bottlenecks: int = 4
    bottleneck_planes: int = 64
    stages: tuple[StageSpec, StageSpec, StageSpec] = (StageSpec(1, 4), StageSpec(4, 4), StageSpec(3, 4))

    @property
    def branch_channels(self) -> tuple[int, int, int, int]:
        """Channels of the branches at 1/4, 1/8, 1/16 and 1/32 resolution."""
        return (self.width, 2 * self.width, 4 * self.width, 8 * self.width)


class HRNet(nn.Module):
    """Stem, bottlenecks and stages 2 to 4; `branches` runs them.

    A base class, not a part: DEKR's state dict has the backbone's names at its root.
    """

    def __init__(self, spec: HRNetSpec) -> None:
        super().__init__()
        stem, channels = spec.stem_channels, spec.branch_channels
        self.conv1 = _conv(3, stem, kernel=3, stride=2)
        self.bn1 = nn.BatchNorm2d(stem)
        self.conv2 = _conv(stem, stem, kernel=3, stride=2)
        self.bn2 = nn.BatchNorm2d(stem)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _bottlenecks(stem, spec.bottleneck_planes, spec.bottlenecks)
        stage2, stage3, stage4 = spec.stages
        self.transition1 = Transition([spec.bottleneck_planes * Bottleneck.expansion], channels[:2])
        self.stage2 = _stage(stage2, channels[:2])
        self.transition2 = Transition(channels[:2], channels[:3])
        self.stage3 = _stage(stage3, channels[:3])
        self.transition3 = Transition(channels[:3], channels)
        self.stage4 = _stage(stage4, channels)

    def branches(self, images: Tensor) -> list[Tensor]:
        """Four feature maps, finest first: [B, C, H/4, W/4] to [B, 8C, H/32, W/32].

        Args:
            images: [B, 3, H, W] float, normalised; H and W multiples of 32.
        """
        x = self.relu(self.bn1(self.conv1(images)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.layer1(x)
        maps = self.stage2(self.transition1([x]))
        maps = self.stage3(self.transition2(maps))
        return self.stage4(self.transition3(maps))  # type: ignore[no-any-return]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut; keeps the width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, channels, kernel=3)
        self.bn1 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = _conv(channels, channels, kernel=3)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu(out + x)  # type: ignore[no-any-return]


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions around a shortcut; puts out four times its inner channels."""

    expansion = 4

    def __init__(self, in_channels: int, planes: int) -> None:
        super().__init__()
        out_channels = planes * self.expansion
        self.conv1 = _conv(in_channels, planes, kernel=1)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = _conv(planes, planes, kernel=3)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = _conv(planes, out_channels, kernel=1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if in_channels != out_channels:
            self.downsample = conv_bn_relu(in_channels, out_channels, kernel=1, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, 4 planes, H, W]."""
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(out + shortcut)  # type: ignore[no-any-return]


class Transition(nn.ModuleList):
    """From the branches of one stage to those of the next: widths adapted, coarser branches added.

    A branch whose width does not change has no entry in the state dict, as in the public code.
    """

    def __init__(self, before: Sequence[int], after: Sequence[int]) -> None:
        super().__init__()
        for index, channels in enumerate(after):
            if index < len(before):
                same = before[index] == channels
                self.append(nn.Identity() if same else conv_bn_relu(before[index], channels, kernel=3))
            else:
                self.append(_downsampling(before[-1], channels, index + 1 - len(before)))

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps of the existing branches to maps of all branches of the next stage."""
        return [layer(maps[min(index, len(maps) - 1)]) for index, layer in enumerate(self)]


class HRModule(nn.Module):
    """Residual blocks on every branch, then an exchange in which each branch sums all of them."""

    def __init__(self, channels: Sequence[int], blocks: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(BasicBlock(width) for _ in range(blocks))) for width in channels
        )
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_exchange(channels, source, target) for source in range(len(channels)))
            for target in range(len(channels))
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Maps of the branches, finest first, to maps of the same shapes."""
        maps = [branch(x) for branch, x in zip(self.branches, maps, strict=True)]
        fused = []
        for layers in self.fuse_layers:
            assert isinstance(layers, nn.ModuleList)
            terms = [layer(x) for layer, x in zip(layers, maps, strict=True)]
            total = terms[0]
            for term in terms[1:]:
                total = total + term
            fused.append(self.relu(total))
        return fused


class _UpsampleNearest(nn.Module):
    """Nearest-neighbour enlargement by a whole factor."""

    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=float(self.factor), mode="nearest")


def conv_bn_relu(
    in_channels: int, out_channels: int, *, kernel: int, stride: int = 1, relu: bool = True
) -> nn.Sequential:
    """Convolution without bias, batch norm and, unless `relu` is False, ReLU."""
    layers: list[nn.Module] = [
        _conv(in_channels, out_channels, kernel=kernel, stride=stride),
        nn.BatchNorm2d(out_channels),
    ]
    if relu:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def _conv(in_channels: int, out_channels: int, *, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, bias=False)


def _bottlenecks(in_channels: int, planes: int, count: int) -> nn.Sequential:
    widths = [in_channels] + [planes * Bottleneck.expansion] * (count - 1)
    return nn.Sequential(*(Bottleneck(width, planes) for width in widths))


def _stage(spec: StageSpec, channels: Sequence[int]) -> nn.Sequential:
    return nn.Sequential(*(HRModule(channels, spec.blocks) for _ in range(spec.modules)))


def _exchange(channels: Sequence[int], source: int, target: int) -> nn.Module:
    """The path by which one branch's map reaches another's resolution and width."""
    if source == target:
        return nn.Identity()
    if source < target:
        steps = target - source
        widths = [channels[source]] * steps + [channels[target]]
        return nn.Sequential(
            *(
                conv_bn_relu(widths[i], widths[i + 1], kernel=3, stride=2, relu=i + 1 < steps)
                for i in range(steps)
            )
        )
    lift = conv_bn_relu(channels[source], channels[target], kernel=1, relu=False)
    lift.append(_UpsampleNearest(2 ** (source - target)))
    return lift


def _downsampling(in_channels: int, out_channels: int, steps: int) -> nn.Sequential:
    widths = [in_channels] * steps + [out_channels]
    return nn.Sequential(*(conv_bn_relu(widths[i], widths[i + 1], kernel=3, stride=2) for i in range(steps)))
