"""Choice of the offset head's implementation by device."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from posrefine.inference.fast.backend import Backend
from posrefine.inference.fast.offsets import Offsets
from posrefine.inference.fast.on_device import on_device
from posrefine.inference.fast.points import PointOffsetHead
from posrefine.inference.fast.stacked import AdaptiveKernel, StackedOffsetHead, plain_adaptive_block
from posrefine.modeling.network import PoseNetwork

__all__ = ["offset_head"]

_log = logging.getLogger(__name__)


class OffsetHead(Protocol):
    """Computes what offsets are read from: dense offsets, or features of the adaptive blocks."""

    def __call__(self, maps: Sequence[Tensor]) -> Tensor:
        """Branch maps, finest first, to a tensor [B, ...] that `offsets` takes."""
        ...

    def offsets(self, computed: Tensor) -> Offsets:
        """Offsets by cell, from the result of `__call__`."""
        ...


def offset_head(network: PoseNetwork, widths: Sequence[int], backend: Backend) -> tuple[OffsetHead, str]:
    """The offset head made ready, and how it samples: `points`, `triton` or `grid_sample`."""
    if backend.device.type == "cpu":
        return PointOffsetHead(network, widths, backend), "points"
    if backend.device.type == "cuda":
        kernel = _triton_kernel()
        if kernel is not None:
            head = StackedOffsetHead(network, widths, backend, kernel)
            if _runs(head, widths, backend):
                return head, "triton"
    return StackedOffsetHead(network, widths, backend, plain_adaptive_block), "grid_sample"


def _triton_kernel() -> AdaptiveKernel | None:
    try:
        from posrefine.inference.fast.adaptive_triton import triton_adaptive_block
    except ImportError as error:
        _log.warning("adaptive convolutions run on grid_sample, which is slower: %s; install triton", error)
        return None
    return triton_adaptive_block


def _runs(head: StackedOffsetHead, widths: Sequence[int], backend: Backend) -> bool:
    """Compiles the kernel, on maps of the smallest size."""
    maps = [
        torch.zeros(1, width, 8 >> level, 8 >> level, device=backend.device, dtype=backend.dtype)
        for level, width in enumerate(widths)
    ]
    try:
        head([x.to(memory_format=torch.channels_last) for x in maps])
        with on_device(backend.device):
            torch.cuda.synchronize()
    except (RuntimeError, subprocess.SubprocessError) as error:
        # Triton builds its launcher with the machine's C compiler.
        _log.warning(
            "adaptive convolutions run on grid_sample, which is slower: Triton failed (%s); is there a C "
            "compiler on this machine?",
            str(error).splitlines()[0],
        )
        return False
    return True
