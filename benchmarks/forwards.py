"""A forward pass of a prepared network: heatmaps everywhere, and offsets at as many centres as decoding reads."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from posrefine.inference.fast.prepare import PreparedNetwork
from posrefine.test_protocols import OFFICIAL, STRIDE

__all__ = ["forward_pass"]


def forward_pass(network: PreparedNetwork, pixels: Tensor) -> Callable[[], Tensor]:
    """A call of the network on [B, 3, H, W] uint8; offsets are read at the same random cells every time."""
    batch, _, height, width = pixels.shape
    generator = torch.Generator().manual_seed(0)
    x, y = (
        torch.randint(side // STRIDE, (batch, OFFICIAL.max_persons), generator=generator)
        for side in (width, height)
    )
    cells = torch.stack([x, y], dim=-1).to(pixels.device)

    @torch.inference_mode()
    def run() -> Tensor:
        return network.offsets(network(pixels)).at(cells)

    return run
