"""How large a network is: parameters and multiply-adds, counted without computing anything."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from posrefine.modeling.network import PoseNetwork, Variant
from posrefine.skeletons import Skeleton

__all__ = ["Complexity", "measure_complexity"]


@dataclass(frozen=True)
class Complexity:
    """The size of a network.

    Attributes:
        parameters: trained numbers.
        multiply_adds: of one forward of one image.
    """

    parameters: int
    multiply_adds: int


@cache
def measure_complexity(variant: Variant, skeleton: Skeleton, input_size: int | None = None) -> Complexity:
    """Counts on tensors without data.

    Multiply-adds are those of convolutions and matrix products. An adaptive convolution counts as the product
    of its samples and weights, like the deformable convolution of DEKR; bilinear sampling does not count, nor
    where it is computed as products.

    Args:
        variant: which network.
        skeleton: whose joints it finds.
        input_size: height and width in input px; None is the variant's own.
    """
    size = input_size or variant.input_size
    with torch.device("meta"):
        network = PoseNetwork(variant, skeleton).eval()
        images = torch.empty(1, 3, size, size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images)
    enlarging = sum(counter.get_flop_counts()[f"{PoseNetwork.__name__}.at_finest"].values())
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Complexity(parameters, (counter.get_total_flops() - enlarging) // 2)
