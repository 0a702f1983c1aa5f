"""Bringing arrays to a device and results back without waiting for it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from posrefine.inference.fast.on_device import on_device

__all__ = ["HostCopy", "to_device"]


def to_device(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """The array as a tensor on the device, over pinned memory where that lets the copy queue up."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    with on_device(device):
        return tensor.pin_memory().to(device, non_blocking=True)


class HostCopy:
    """A tensor on its way to the host.

    The copy is queued at once, behind the kernels that compute the tensor and before all that are submitted
    later; only reading it waits.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._ready: torch.cuda.Event | None = None
        if tensor.is_cuda:
            # An event is recorded on the current device's stream: it has to be the one that copies.
            with on_device(tensor.device):
                self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
                self._host.copy_(tensor, non_blocking=True)
                self._ready = torch.cuda.Event()  # type: ignore[no-untyped-call]
                self._ready.record()
        else:
            self._host = tensor.cpu()

    def numpy(self) -> NDArray[np.float32]:
        """The values, once they have arrived."""
        if self._ready is not None:
            self._ready.synchronize()
        return self._host.numpy()
