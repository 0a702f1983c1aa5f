"""DCM, PosRefine's dilated convolution module: context from several shapes and distances of neighbourhood.

From the paper: one module per branch, of three convolution layers and one concatenation. Layer 1 is 1x1
blocks, layer 2 is three blocks of 1x3, 3x1 and 3x3, layer 3 is four cascaded 3x3 dilated blocks of rates 1,
3, 3 and 5, of which all but the first take an input derived from the one before.

Our reading of the rest: the paths of RFBNet's RFB-s (Liu et al., ECCV 2018), which has the same kernels and
rates; a quarter of the width each; a dilated block reads the sum of its own path and the dilated block
before; a 1x1 convolution without ReLU brings the concatenation back to the full width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["DilatedConvolutionModule"]

PATHS = 4


class DilatedConvolutionModule(nn.Module):
    """[B, C, H, W] to the same shape; C must be a multiple of 4."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = channels // PATHS
        if width * PATHS != channels:
            raise ValueError(f"DCM needs a multiple of {PATHS} channels, got {channels}")
        self.shapes = nn.ModuleList(
            [
                _block(channels, width, (1, 1)),
                nn.Sequential(_block(channels, width, (1, 1)), _block(width, width, (3, 1))),
                nn.Sequential(_block(channels, width, (1, 1)), _block(width, width, (1, 3))),
                nn.Sequential(_block(channels, width, (1, 1)), _block(width, width, (3, 3))),
            ]
        )
        self.dilated = nn.ModuleList(_block(width, width, (3, 3), rate) for rate in (1, 3, 3, 5))
        self.project = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape."""
        outputs: list[Tensor] = []
        for shape, dilated in zip(self.shapes, self.dilated, strict=True):
            own = shape(x)
            outputs.append(dilated(own + outputs[-1] if outputs else own))
        return self.project(torch.cat(outputs, dim=1))  # type: ignore[no-any-return]


def _block(in_channels: int, out_channels: int, kernel: tuple[int, int], rate: int = 1) -> nn.Sequential:
    """Convolution that keeps the size, batch norm, ReLU."""
    padding = (kernel[0] // 2 * rate, kernel[1] // 2 * rate)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=padding, dilation=rate, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
