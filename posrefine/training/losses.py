"""DEKR's two losses: weighted squared error on heatmaps, weighted smooth-L1 on offsets.

Offsets may saturate: OKS falls off with the error and then stays 0, so a joint that is lost anyway should not
pull as hard as one that is nearly right.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from posrefine.test_protocols import STRIDE
from posrefine.training.samples import Batch

__all__ = ["Losses", "flat_cells_to_learn", "heatmap_loss", "offset_loss", "training_losses"]

SMOOTH_L1_BETA = 1 / 9


@dataclass(frozen=True)
class Losses:
    """Scalars of one step; `total` is what is minimised: heatmap + offset, each times its factor."""

    total: torch.Tensor
    heatmap: torch.Tensor
    offset: torch.Tensor


def heatmap_loss(predicted: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean over all cells of weight times squared error; all [B, K + 1, h, w]."""
    return (weight * (predicted - target) ** 2).mean()


def offset_loss(
    predicted: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, saturation: float | None = None
) -> torch.Tensor:
    """Smooth-L1 (beta 1/9 cells) times weight, summed, over the count of weighted cells.

    Args:
        predicted: [B, 2K, h, w], heatmap cells.
        target: the same.
        weight: [B, 2K, h, w]: 1 / diagonal of the person, input px, where an offset counts, else 0.
        saturation: s, in diagonals. An error e counts s * log(1 + e / s), e where it is small; None: e.
    """
    error = weight * F.smooth_l1_loss(predicted, target, reduction="none", beta=SMOOTH_L1_BETA)
    if saturation is not None:
        scale = saturation / STRIDE
        error = scale * torch.log1p(error / scale)
    return error.sum() / (weight > 0).sum().clamp(min=1)


def flat_cells_to_learn(weight: torch.Tensor, count: int) -> torch.Tensor | None:
    """The cells whose offsets are computed: those that count, then random ones; None where that is all cells.

    Args:
        weight: [B, 2K, h, w], of the offset loss.
        count: M.

    Returns:
        [B, M] int64, each y * w + x, all different. Where more than M cells count, random ones of them.
    """
    counts = (weight > 0).any(dim=1).flatten(1)
    if count >= counts.shape[1]:
        return None
    # Drawn on the CPU, whose generator is part of a training's state.
    order = counts + torch.rand(counts.shape).to(counts.device)
    return order.topk(count, dim=1).indices


def training_losses(
    heatmap: torch.Tensor,
    offset: torch.Tensor,
    batch: Batch,
    heatmap_factor: float = 1.0,
    offset_factor: float = 0.03,
    offset_saturation: float | None = None,
) -> Losses:
    """Both losses of a prediction ([B, K + 1, h, w] and [B, 2K, h, w]) in float32, whatever its precision."""
    heat = heatmap_factor * heatmap_loss(heatmap.float(), batch.heatmap, batch.heatmap_weight)
    error = offset_loss(offset.float(), batch.offset, batch.offset_weight, offset_saturation)
    off = offset_factor * error
    return Losses(total=heat + off, heatmap=heat, offset=off)
