"""HSM, PosRefine's hybrid self-attention module: a context map takes the place of the attention matrix.

From the paper: it follows DCM on every branch and integrates contextual information.

Our reading of the rest: convolutional modulation (Hou et al., "Conv2Former", 2022) with the gains of
LayerScale (Touvron et al., 2021), x + g1 * Attention(x), then x + g2 * MLP(x). There is no softmax, and the
cost grows linearly with the number of pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CascadedContext", "ChannelNorm", "Gain", "HybridSelfAttention"]

MLP_RATIO = 4


class HybridSelfAttention(nn.Module):
    """Modulated values and a gated MLP, each behind a per-channel gain; the identity where the gains are 0.

    Args:
        channels: C.
        context: maps the normalised features [B, C, H, W] to what multiplies the values, same shape.
        gain: initial value of the per-channel gains.
    """

    def __init__(self, *, channels: int, context: nn.Module, gain: float) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.context = context
        self.value = nn.Conv2d(channels, channels, 1)
        self.project = nn.Conv2d(channels, channels, 1)
        self.attention_gain = Gain(channels, gain)
        self.mlp = GatedMLP(channels)
        self.mlp_gain = Gain(channels, gain)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        normed = self.norm(x)
        x = x + self.attention_gain(self.project(self.context(normed) * self.value(normed)))
        return x + self.mlp_gain(self.mlp(x))  # type: ignore[no-any-return]


class GatedMLP(nn.Module):
    """Widens by 1x1, gates the result with itself, narrows by a grouped 3x3; adds its normalised input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = MLP_RATIO * channels
        self.norm = ChannelNorm(channels)
        self.widen = nn.Conv2d(channels, hidden, 1)
        self.narrow = nn.Conv2d(hidden, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        normed = self.norm(x)
        hidden = self.widen(normed)
        return normed + self.narrow(F.gelu(hidden) * hidden)  # type: ignore[no-any-return]


class CascadedContext(nn.Module):
    """HSM's context without DCM: dilated 3x3 blocks one after another, rates 1, 2, 3, outputs summed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dilated = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            )
            for rate in (1, 2, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        first, second, third = self.dilated
        x1 = first(x)
        x2 = second(x1)
        return x1 + x2 + third(x2)  # type: ignore[no-any-return]


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
