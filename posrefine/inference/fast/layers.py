"""The network's building blocks on folded convolutions; sums take the place of maps no longer needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posrefine.inference.fast.backend import Backend, Convolution
from posrefine.inference.fast.folding import FoldedConvolution, fold
from posrefine.modeling.hrnet import BasicBlock, Bottleneck

__all__ = [
    "Chain",
    "FastBlock",
    "chain_of",
    "children_of",
    "enlarged_by_two",
    "enlarged_to",
    "residual_block",
]


AnyModule = TypeVar("AnyModule", bound=nn.Module)


class Chain:
    """Convolutions one after another, itself a convolution to its callers."""

    def __init__(self, convolutions: Sequence[FoldedConvolution], backend: Backend) -> None:
        *first, last = (backend.convolution(folded) for folded in convolutions)
        self._first: list[Convolution] = first
        self._last: Convolution = last

    def __call__(self, x: Tensor) -> Tensor:
        """[B, in, H, W] channels-last to [B, out, H', W'] channels-last."""
        return self._last(self._up_to_last(x))

    def onto(self, total: Tensor, x: Tensor) -> Tensor:
        """The sum of `total`, which may be overwritten, and the chain's output."""
        return self._last.onto(total, self._up_to_last(x))

    def _up_to_last(self, x: Tensor) -> Tensor:
        for convolution in self._first:
            x = convolution(x)
        return x


class FastBlock:
    """A chain around a shortcut. Overwrites its input unless the shortcut has a convolution of its own."""

    def __init__(self, chain: Chain, shortcut: Chain | None) -> None:
        self._chain = chain
        self._shortcut = shortcut

    def __call__(self, x: Tensor) -> Tensor:
        """[B, C, H, W] channels-last to the same size."""
        return self._chain.onto(x if self._shortcut is None else self._shortcut(x), x)


def residual_block(block: nn.Module, backend: Backend) -> FastBlock:
    """A residual block of the network; ReLU follows every convolution, the last one's after the sum."""
    assert isinstance(block, BasicBlock | Bottleneck), f"no fast form of {type(block).__name__}"
    convolutions = [
        fold(block.conv1, block.bn1, relu=True),
        fold(block.conv2, block.bn2, relu=True),
    ]
    shortcut = None
    if isinstance(block, Bottleneck):
        convolutions.append(fold(block.conv3, block.bn3, relu=True))
        if block.downsample is not None:
            shortcut = Chain(chain_of(block.downsample), backend)
    return FastBlock(Chain(convolutions, backend), shortcut)


def chain_of(module: nn.Module, *, relu_after_sum: bool = False) -> list[FoldedConvolution]:
    """The convolutions of (nested) sequences of convolution, batch norm and ReLU, in order.

    Args:
        module: what to read; layers of other kinds that it ends with are left out.
        relu_after_sum: gives the last convolution a ReLU, for chains whose `onto` completes a sum.
    """
    layers = [layer for layer in module.modules() if not list(layer.children())]
    chain = []
    for index, layer in enumerate(layers):
        if isinstance(layer, nn.Conv2d):
            norm, after = [*layers[index + 1 : index + 3], None, None][:2]
            if not isinstance(norm, nn.BatchNorm2d):
                norm, after = None, norm
            chain.append(fold(layer, norm, relu=isinstance(after, nn.ReLU)))
    if relu_after_sum:
        chain[-1] = replace(chain[-1], relu=True)
    return chain


def children_of(module: nn.Module, kind: type[AnyModule]) -> list[AnyModule]:
    """The module's children in order, which must all be of one kind."""
    children = list(module.children())
    assert all(isinstance(child, kind) for child in children), [type(child).__name__ for child in children]
    return cast("list[AnyModule]", children)


def enlarged_by_two(x: Tensor) -> Tensor:
    """[B, C, H, W] to [B, C, 2H, 2W], every cell repeated."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


def enlarged_to(x: Tensor, size: torch.Size) -> Tensor:
    """Bilinear, as the network enlarges its branches."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
