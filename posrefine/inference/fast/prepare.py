"""The one way a network is made ready for a device."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from posrefine.inference.fast.backend import Backend, Library
from posrefine.inference.fast.graphs import CudaGraphs
from posrefine.inference.fast.network import FastMaps, FastNetwork
from posrefine.inference.fast.offsets import Offsets
from posrefine.inference.fast.on_device import on_device
from posrefine.inference.fast.soundness import check_activations, check_weights
from posrefine.modeling.network import PoseNetwork

__all__ = ["Preparation", "PreparedNetwork", "bfloat16_is_fast"]


@dataclass(frozen=True)
class Preparation:
    """How a network was made ready.

    Attributes:
        device: torch's name of it.
        dtype: of weights and activations.
        convolutions: whose they are.
        adaptive: how adaptive convolutions sample: at `points` that are read, or everywhere by `triton` or
            `grid_sample`.
        graphs: whether CUDA graphs are replayed.
        seconds: what it took, compiling included.
    """

    device: str
    dtype: torch.dtype
    convolutions: Library
    adaptive: str
    graphs: bool
    seconds: float

    @property
    def form(self) -> str:
        """All but the seconds, for people."""
        graphs = ", CUDA graphs" if self.graphs else ""
        return (
            f"{self.device}, {str(self.dtype).removeprefix('torch.')}, {self.convolutions} convolutions, "
            f"adaptive ones by {self.adaptive}{graphs}"
        )

    def __str__(self) -> str:
        return f"{self.form}; ready in {self.seconds:.1f} s"


class PreparedNetwork:
    """A network on its device, in the form that runs fastest there.

    Args:
        network: read, not kept; its batch norms are taken as in evaluation mode.
        device: where to run; a GPU with its index.
        dtype: of weights and activations: float32 or bfloat16.

    Raises:
        WeightsError: a weight is not finite, becomes so where its batch norm is multiplied in, or a layer
            computes what is not.
    """

    def __init__(self, network: PoseNetwork, device: torch.device, dtype: torch.dtype) -> None:
        start = time.perf_counter()
        backend = Backend.of(device, dtype)
        check_weights(network)
        with torch.inference_mode(), on_device(device):
            fast = FastNetwork(network, backend)
        check_activations(network)
        self._offsets = fast.offsets
        self._run: Callable[[Tensor], FastMaps] = fast if device.type != "cuda" else CudaGraphs(fast, device)
        self._device = device
        self.preparation = Preparation(
            str(device),
            dtype,
            backend.library,
            fast.adaptive,
            isinstance(self._run, CudaGraphs),
            time.perf_counter() - start,
        )

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> FastMaps:
        """Runs the network.

        Args:
            images: [B, 3, H, W] uint8 RGB on the device; H and W multiples of 32.
        """
        with on_device(self._device):
            return self._run(images)

    def offsets(self, maps: FastMaps) -> Offsets:
        """Offsets by cell, from `FastMaps.of_joints`; those of several calls may be concatenated first."""
        return self._offsets(maps)


def bfloat16_is_fast(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 natively, faster than float32."""
    if device.type == "cuda":
        with on_device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False
