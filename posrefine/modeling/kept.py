"""A network as plain numbers, which travel to other processes whatever its modules are made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor

from posrefine.modeling.network import PoseNetwork, Variant
from posrefine.modeling.trained_for import TrainedFor
from posrefine.skeletons import Skeleton

__all__ = ["KeptNetwork"]


@dataclass(frozen=True, eq=False)
class KeptNetwork:
    """What a network was at some moment, on the CPU; later changes of it do not reach this copy.

    Attributes:
        variant: which network.
        skeleton: whose joints it finds.
        trained_for: what it is tested with.
        tensors: parameters and buffers by the modules' own names.
    """

    variant: Variant
    skeleton: Skeleton
    trained_for: TrainedFor
    tensors: Mapping[str, Tensor]

    @staticmethod
    def of(network: PoseNetwork) -> KeptNetwork:
        """A copy of the network's numbers."""
        tensors = {name: tensor.detach().to("cpu", copy=True) for name, tensor in _tensors(network)}
        return KeptNetwork(network.variant, network.skeleton, network.trained_for, tensors)

    def network(self) -> PoseNetwork:
        """The network again, in evaluation mode."""
        with torch.random.fork_rng(devices=[]):  # what it is drawn with at first is nobody's to miss
            network = PoseNetwork(self.variant, self.skeleton).eval()
        with torch.no_grad():
            for name, tensor in _tensors(network):
                tensor.copy_(self.tensors[name])
        network.trained_for = self.trained_for
        return network


def _tensors(network: PoseNetwork) -> Iterator[tuple[str, Tensor]]:
    return chain(network.named_parameters(), network.named_buffers())
