"""CUDA graphs: all of a network's launches replayed by one, for each shape of input."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from posrefine.inference.fast.network import FastMaps
from posrefine.inference.fast.on_device import on_device

__all__ = ["MAX_SHAPES", "CudaGraphs"]

MAX_SHAPES = 32
"""Shapes whose graphs are kept; the least recently used one goes first."""


@dataclass(frozen=True)
class _Graph:
    graph: torch.cuda.CUDAGraph
    images: Tensor
    maps: FastMaps


class CudaGraphs:
    """Runs a network, from the second time on that it sees a shape by a graph.

    The first time runs launch by launch: libraries choose and load their kernels then, which must not happen
    while a graph is recorded, and a shape that never comes again is not worth recording.

    Graphs share one memory pool. That is sound because they run one after another on one stream, and maps are
    copied out before the next one starts.

    Args:
        network: what to run; must not read anything back to the host.
        device: the GPU that it runs on, with its index.
        max_shapes: how many shapes to remember.
    """

    def __init__(
        self, network: Callable[[Tensor], FastMaps], device: torch.device, max_shapes: int = MAX_SHAPES
    ) -> None:
        self._network = network
        self._device = device
        self._max_shapes = max_shapes
        self._graphs: OrderedDict[torch.Size, _Graph | None] = OrderedDict()
        with on_device(device):
            self._pool = torch.cuda.graph_pool_handle()
            # torch's own stream for recording is made once, on whatever GPU is current then.
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def __call__(self, images: Tensor) -> FastMaps:
        """Runs the network; the maps are the caller's."""
        with on_device(self._device):
            return self._replayed(images)

    def _replayed(self, images: Tensor) -> FastMaps:
        shape = images.shape
        if shape not in self._graphs:
            self._remember(shape, None)
            return self._launch(images)
        graph = self._graphs[shape]
        if graph is None:
            graph = self._record(images)
        self._remember(shape, graph)
        graph.images.copy_(images)
        graph.graph.replay()
        return FastMaps(*(tensor.clone() for tensor in graph.maps))

    def _remember(self, shape: torch.Size, graph: _Graph | None) -> None:
        self._graphs[shape] = graph
        self._graphs.move_to_end(shape)
        while len(self._graphs) > self._max_shapes:
            self._graphs.popitem(last=False)

    def _record(self, images: Tensor) -> _Graph:
        with on_device(self._device):
            graph, static = torch.cuda.CUDAGraph(), images.clone()
            # Other threads may go on allocating pinned memory meanwhile.
            recording = torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            )
            with recording:
                maps = self._launch(static)
        return _Graph(graph, static, maps)

    def _launch(self, images: Tensor) -> FastMaps:
        # torch lets cuDNN round float32 to 10 bits of mantissa; who asks for float32 gets float32.
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False):
            return self._network(images)
