"""A pose network made ready for a device."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from posrefine.inference.fast.adaptive import offset_head
from posrefine.inference.fast.backbone import FastBackbone
from posrefine.inference.fast.backend import Backend
from posrefine.inference.fast.heads import FastHeatmapHead
from posrefine.inference.fast.offsets import Offsets
from posrefine.inference.fast.refine import FastRefine
from posrefine.modeling.network import PoseNetwork

__all__ = ["FastMaps", "FastNetwork"]


class FastMaps(NamedTuple):
    """Heatmaps of a batch, and the tensor that its offsets are read from.

    Attributes:
        heatmap: [B, K + 1, H/4, W/4] float32.
        of_joints: [B, ...] what offsets are read from.
    """

    heatmap: Tensor
    of_joints: Tensor


class FastNetwork:
    """A pose network in evaluation mode on folded convolutions, from pixels; equal up to rounding.

    Args:
        network: read, not kept.
        backend: where it runs.
    """

    def __init__(self, network: PoseNetwork, backend: Backend) -> None:
        widths = network.variant.network.backbone.branch_channels
        self._dtype = backend.dtype
        self._mean = (255 * network.pixel_mean.detach()).to(backend.device, torch.float32)
        self._std = (255 * network.pixel_std.detach()).to(backend.device, torch.float32)
        self._backbone = FastBackbone(network, backend)
        self._refine = [FastRefine(block, backend) for block in network.refine]
        self._heatmap = FastHeatmapHead(network.transition_heatmap, network.head_heatmap, widths, backend)
        self._offset, self.adaptive = offset_head(network, widths, backend)

    def __call__(self, images: Tensor) -> FastMaps:
        """Runs the network.

        Args:
            images: [B, 3, H, W] uint8 RGB on the device; H and W multiples of 32.
        """
        pixels = self._normalised(images)
        maps = [refine(x) for refine, x in zip(self._refine, self._backbone(pixels), strict=True)]
        of_joints = self._offset(maps)
        return FastMaps(self._heatmap(maps), of_joints)

    def _normalised(self, images: Tensor) -> Tensor:
        """View by view: in float32 the pixels of a whole batch would be the largest block of a call."""
        pixels = torch.empty(
            images.shape, dtype=self._dtype, device=images.device, memory_format=torch.channels_last
        )
        for normalised, image in zip(torch.split(pixels, 1), torch.split(images, 1), strict=True):
            normalised.copy_((image - self._mean).div_(self._std))
        return pixels

    def offsets(self, maps: FastMaps) -> Offsets:
        """Offsets by cell, from `FastMaps.of_joints`."""
        return self._offset.offsets(maps.of_joints)
