"""HRNet's forward pass on folded convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from posrefine.inference.fast.backend import Backend
from posrefine.inference.fast.folding import fold
from posrefine.inference.fast.layers import (
    Chain,
    FastBlock,
    chain_of,
    children_of,
    enlarged_by_two,
    residual_block,
)
from posrefine.modeling.hrnet import HRModule, HRNet, Transition

__all__ = ["FastBackbone"]


class FastBackbone:
    """`HRNet.branches` on folded convolutions, equal up to rounding."""

    def __init__(self, network: HRNet, backend: Backend) -> None:
        stem = [fold(network.conv1, network.bn1, relu=True), fold(network.conv2, network.bn2, relu=True)]
        self._stem = Chain(stem, backend)
        self._layer1 = _blocks(network.layer1, backend)
        self._stages = [
            (
                _FastTransition(transition, backend),
                [_FastModule(module, backend) for module in children_of(stage, HRModule)],
            )
            for transition, stage in (
                (network.transition1, network.stage2),
                (network.transition2, network.stage3),
                (network.transition3, network.stage4),
            )
        ]

    def __call__(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] channels-last, normalised, to four maps, finest first."""
        x = self._stem(images)
        for block in self._layer1:
            x = block(x)
        maps = [x]
        for transition, modules in self._stages:
            maps = transition(maps)
            for module in modules:
                maps = module(maps)
        return maps


class _FastTransition:
    def __init__(self, transition: Transition, backend: Backend) -> None:
        self._layers = [
            None if isinstance(layer, nn.Identity) else Chain(chain_of(layer), backend)
            for layer in transition
        ]

    def __call__(self, maps: list[Tensor]) -> list[Tensor]:
        sources = [maps[min(index, len(maps) - 1)] for index in range(len(self._layers))]
        return [x if layer is None else layer(x) for layer, x in zip(self._layers, sources, strict=True)]


class _FastModule:
    """Residual blocks on every branch, then the exchange."""

    def __init__(self, module: HRModule, backend: Backend) -> None:
        self._branches = [_blocks(branch, backend) for branch in module.branches]
        self._exchange = [
            _Exchange(target, list(layers.children()), backend)
            for target, layers in enumerate(module.fuse_layers)
        ]

    def __call__(self, maps: list[Tensor]) -> list[Tensor]:
        outputs = []
        for blocks, x in zip(self._branches, maps, strict=True):
            for block in blocks:
                x = block(x)
            outputs.append(x)
        return [exchange(outputs) for exchange in self._exchange]


class _Exchange:
    """All branches summed at the resolution of one of them.

    Coarser branches are added up from the coarsest on, each sum enlarged by two. That is the same as
    enlarging each of them all the way, for cells are repeated, with fewer passes over large maps.
    """

    def __init__(self, target: int, layers: Sequence[nn.Module], backend: Backend) -> None:
        self._target = target
        self._finer = [
            Chain(chain_of(layer, relu_after_sum=source + 1 == target), backend)
            for source, layer in enumerate(layers[:target])
        ]
        self._coarser = [Chain(chain_of(layer), backend) for layer in layers[target + 1 :]]

    def __call__(self, maps: list[Tensor]) -> Tensor:
        own = maps[self._target]
        total = own.clone() if not self._coarser else self._from_coarser(maps).add_(own)
        for chain, x in zip(self._finer, maps, strict=False):
            total = chain.onto(total, x)
        return total if self._finer else total.relu_()

    def _from_coarser(self, maps: list[Tensor]) -> Tensor:
        coarser = list(zip(self._coarser, maps[self._target + 1 :], strict=True))
        chain, x = coarser.pop()
        total = chain(x)
        while coarser:
            chain, x = coarser.pop()
            total = chain.onto(enlarged_by_two(total), x)
        return enlarged_by_two(total)


def _blocks(sequence: nn.Module, backend: Backend) -> list[FastBlock]:
    return [residual_block(block, backend) for block in sequence.children()]
