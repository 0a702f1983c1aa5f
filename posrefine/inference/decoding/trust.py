"""Weights of the test scales for each person, by the person's size.

A network is trained on persons of some range of sizes. A larger test scale shows small persons in more
detail, but large ones beyond that range, where predicted offsets are too short.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["size_trust"]

_FALLS_WITHIN = 0.7
"""Standard deviation of the trust around the known size, in natural logarithms: a factor of two."""

_SMALLEST_PX = 1.0


def size_trust(poses: Tensor, scales: tuple[float, ...], known_size_px: float) -> Tensor:
    """Trust by the size that a person has in the views of each scale: a Gaussian of its logarithm.

    Args:
        poses: [B, P, K, 2] float32, scale-1 input px.
        scales: test scales.
        known_size_px: diagonal of a pose's box, in a view's input px, that is trusted with 1.

    Returns:
        [B, P, scales] float32, above 0 and at most 1.
    """
    diagonals_px = (poses.amax(2) - poses.amin(2)).norm(dim=-1, keepdim=True).clamp(min=_SMALLEST_PX)
    away = (diagonals_px / known_size_px * _scales(scales, poses.device)).log() / _FALLS_WITHIN
    trust: Tensor = (-away.square() / 2).exp()
    return trust


@lru_cache(maxsize=64)
def _scales(scales: tuple[float, ...], device: torch.device) -> Tensor:
    # Kept on the device: a copy there for every batch would hold up the queue.
    return torch.tensor(scales, device=device)
