"""The running average of the weights, which evaluates better than the weights of any single step."""

from __future__ import annotations

import copy

import torch
from torch import nn

from posrefine.modeling.network import PoseNetwork

__all__ = ["AveragedModel"]


class AveragedModel:
    """Exponential moving average of a network's parameters and buffers.

    The decay starts low and rises to `decay`, so that the first steps do not linger.

    Attributes:
        model: the average as a network of its own, in eval mode.
    """

    def __init__(self, model: PoseNetwork, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Take in the weights after step `step` (from 0)."""
        keep = min(self.decay, (1 + step) / (10 + step))
        pairs = list(zip(_tensors(self.model), _tensors(model), strict=True))
        floating = [(mine, theirs) for mine, theirs in pairs if mine.is_floating_point()]
        torch._foreach_lerp_([mine for mine, _ in floating], [theirs for _, theirs in floating], 1 - keep)
        for mine, theirs in pairs:
            if not mine.is_floating_point():
                mine.copy_(theirs)


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]
