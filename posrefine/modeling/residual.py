"""x + gain * inner(norm(x)): how everything that PosRefine adds to DEKR stands on a branch.

The gains are LayerScale's (Touvron et al., 2021), one learned factor per channel. At 0 the block returns its
input, bit for bit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["ChannelNorm", "Gain", "GainedResidual"]


class GainedResidual(nn.Module):
    """Adds what `inner` makes of the normalised input.

    Args:
        channels: C.
        inner: [B, C, H, W] to the same shape.
        gain: initial value of the per-channel gains.
    """

    def __init__(self, channels: int, inner: nn.Module, gain: float) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.inner = inner
        self.gain = Gain(channels, gain)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape and type."""
        return x + self.gain(self.inner(self.norm(x)))  # type: ignore[no-any-return]


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of every pixel of [B, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape and type: autocast computes norms in float32 and leaves them so."""
        return super().forward(x.movedim(1, -1)).movedim(-1, 1).to(x.dtype)


class Gain(nn.Module):
    """LayerScale: one learned factor per channel."""

    def __init__(self, channels: int, start: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((channels, 1, 1), start))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape and type: a float32 factor would widen what autocast made narrow."""
        return x * self.weight.to(x.dtype)
