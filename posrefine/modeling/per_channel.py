"""Telling what a network has one number a channel of: biases, norms and gains."""

from __future__ import annotations

from torch import Tensor

__all__ = ["is_per_channel"]


def is_per_channel(tensor: Tensor) -> bool:
    """Whether it is one number a channel, or one alone; gains are that in three dimensions, [C, 1, 1]."""
    return tensor.ndim == 0 or tensor.numel() == len(tensor)
