"""HSM, PosRefine's hybrid self-attention module: what is near by modulation, what is far by attention.

From the paper: it follows DCM on every branch, is a self-attention module, is hybrid, and integrates
contextual information.

Our reading of the rest, two residual parts (`refine` puts each behind a norm and a gain):

1. `HybridSelfAttention`, Local + Global, projected together. Local is convolutional modulation (Hou et al.,
   "Conv2Former", 2022) with the context of the authors' draft, made depthwise. Global is softmax attention of
   every cell to the whole image, whose keys and values are reduced to the coarsest branch's grid, as in PVT
   (Wang et al., ICCV 2021); its relative position term is a depthwise convolution of the values, as in CSWin
   (Dong et al., CVPR 2022), which needs no table and so fits any size.
2. `GatedMLP`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["CascadedContext", "GatedMLP", "GlobalAttention", "HybridSelfAttention"]

HEAD_CHANNELS = 64
"""Of an attention head, at most: as wide as usual, for on a CPU the softmax is half of what a head costs,
however narrow it is."""


class HybridSelfAttention(nn.Module):
    """Local modulation plus global attention, of normalised features.

    Args:
        channels: C.
        reduction: cells of this branch along one of the coarsest branch.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.context = CascadedContext(channels)
        self.value = nn.Conv2d(channels, channels, 1)
        self.attention = GlobalAttention(channels, reduction)
        self.project = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape; H and W multiples of the reduction."""
        local = self.context(x) * self.value(x)
        return self.project(local + self.attention(x))  # type: ignore[no-any-return]


class GlobalAttention(nn.Module):
    """Every cell attends to the whole image, averaged onto the coarsest branch's grid.

    Args:
        channels: C.
        reduction: cells of this branch along one of the grid.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.reduction = reduction
        self.heads = max(1, channels // HEAD_CHANNELS)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key_value = nn.Conv2d(channels, 2 * channels, 1)
        self.position = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape; H and W multiples of the reduction."""
        coarse = F.avg_pool2d(x, self.reduction) if self.reduction > 1 else x
        key, value = self.key_value(coarse).chunk(2, dim=1)
        attended = F.scaled_dot_product_attention(
            self._rows(self.query(x)), self._rows(key), self._rows(value)
        )
        batch, channels, height, width = x.shape
        out = attended.transpose(1, 2).reshape(batch, height, width, channels).permute(0, 3, 1, 2)
        near = self.position(value)
        if self.reduction > 1:
            near = F.interpolate(near, scale_factor=float(self.reduction), mode="nearest")
        return out + near  # type: ignore[no-any-return]

    def _rows(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, heads, H * W, C / heads], a head's channels side by side in memory."""
        batch, channels, height, width = x.shape
        rows = x.permute(0, 2, 3, 1).contiguous()
        return rows.view(batch, height * width, self.heads, channels // self.heads).transpose(1, 2)


class DilatedDepthwise(nn.Conv2d):
    """3x3 of every channel by itself, dilated by `rate`.

    Under autocast on a CPU it computes in float32 all the same: the gradient of its weights in bfloat16 and
    channels-last order, as oneDNN 3.12 has it, reads memory that nobody wrote, and is wrong or infinite.
    """

    def __init__(self, channels: int, rate: int) -> None:
        super().__init__(channels, channels, 3, padding=rate, dilation=rate, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return super().forward(x.float()).to(torch.get_autocast_dtype("cpu"))
        return super().forward(x)


class CascadedContext(nn.Module):
    """Dilated depthwise 3x3 blocks one after another, rates 1, 2, 3, outputs summed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dilated = nn.ModuleList(
            nn.Sequential(
                DilatedDepthwise(channels, rate),
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


class GatedMLP(nn.Module):
    """Widens by 1x1, gates the result with itself, narrows by a grouped 3x3; adds its input.

    Args:
        channels: C.
        ratio: how many times wider it is inside.
    """

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__()
        hidden = ratio * channels
        self.widen = nn.Conv2d(channels, hidden, 1)
        self.narrow = nn.Conv2d(hidden, channels, 3, padding=1, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W], normalised, to the same shape."""
        hidden = self.widen(x)
        return x + self.narrow(F.gelu(hidden) * hidden)  # type: ignore[no-any-return]
