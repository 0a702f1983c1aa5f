"""The network made ready for inference: the one place that decides how it runs on a device."""

from __future__ import annotations

import copy
from enum import StrEnum

import torch
from torch import Tensor

from posrefine.errors import ConfigurationError
from posrefine.modeling.network import PoseMaps, PoseNetwork

__all__ = ["NetworkRunner", "Precision", "available_device"]


class Precision(StrEnum):
    """Number format of the network's activations; decoding is in float32 always."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


def available_device(name: str | torch.device) -> torch.device:
    """The device of that name.

    Raises:
        ConfigurationError: there is no such device here.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigurationError(
            f"device {str(name)!r} cannot be used here ({str(error).splitlines()[0]}); "
            f"choose cpu{', cuda' if torch.cuda.is_available() else ''}"
        ) from error
    return device


class NetworkRunner:
    """A private copy of a network in evaluation mode; the caller's stays as and where it is.

    Args:
        model: the network.
        device: where to run.
        precision: of the activations.
    """

    def __init__(self, model: PoseNetwork, device: torch.device, precision: Precision) -> None:
        self._network = copy.deepcopy(model).eval().requires_grad_(False).to(device)
        self._device = device
        self._precision = precision

    def __call__(self, images: Tensor) -> PoseMaps:
        """Runs the network.

        Args:
            images: [B, 3, H, W] uint8 RGB on the device, H and W multiples of 32.

        Returns:
            Maps in float32.
        """
        reduced = self._precision is Precision.BFLOAT16
        with torch.autocast(self._device.type, torch.bfloat16, enabled=reduced):
            maps = self._network(self._network.normalise(images))
        return PoseMaps(maps.heatmap.float(), maps.offset.float())
