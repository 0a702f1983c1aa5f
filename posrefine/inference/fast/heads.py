"""The two heads on folded convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from posrefine.inference.fast.backend import Backend
from posrefine.inference.fast.folding import FoldedConvolution
from posrefine.inference.fast.layers import Chain, chain_of, enlarged_to, residual_block

__all__ = ["FastHeatmapHead", "FastTransition"]


class FastTransition:
    """A 1x1 convolution over all branches at the finest one's resolution.

    Every branch is convolved where it is and then enlarged; enlarging is linear, so that is the same up to
    rounding as enlarging and concatenating first.

    Args:
        folded: the convolution over the concatenated branches; its ReLU comes after the sum.
        widths: channels of the branches, finest first.
        backend: where it runs.
    """

    def __init__(self, folded: FoldedConvolution, widths: Sequence[int], backend: Backend) -> None:
        stops = torch.tensor(widths).cumsum(0).tolist()
        finest, *coarser = (
            folded.inputs(stop - width, stop) for stop, width in zip(stops, widths, strict=True)
        )
        self._finest = backend.convolution(finest)
        self._coarser = [backend.convolution(part.without_relu()) for part in coarser]

    def __call__(self, maps: Sequence[Tensor]) -> Tensor:
        """Branch maps, finest first, to [B, C, H/4, W/4]."""
        size = maps[0].shape[-2:]
        total, *others = (
            enlarged_to(convolution(x), size) for convolution, x in zip(self._coarser, maps[1:], strict=True)
        )
        for part in others:
            total += part
        return self._finest.onto(total, maps[0])


class FastHeatmapHead:
    """From branch maps to heatmaps, [B, K + 1, H/4, W/4] float32."""

    def __init__(
        self, transition: nn.Module, head: nn.Module, widths: Sequence[int], backend: Backend
    ) -> None:
        (folded,) = chain_of(transition)
        blocks, final = head.children()
        (block,) = blocks.children()
        self._transition = FastTransition(folded, widths, backend)
        self._block = residual_block(block, backend)
        self._final = Chain(chain_of(final), backend.exact)

    def __call__(self, maps: Sequence[Tensor]) -> Tensor:
        """Branch maps, finest first, to heatmaps."""
        return self._final(self._block(self._transition(maps)).float())
