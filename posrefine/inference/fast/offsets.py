"""Offsets from cells to keypoints, read at the centres of persons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

__all__ = ["DenseOffsets", "Offsets"]


class Offsets(Protocol):
    """Offsets of a batch by cell; an implementation may compute them only where they are read."""

    def at(self, cells: Tensor) -> Tensor:
        """Reads offsets.

        Args:
            cells: [B, P, 2] int64, x then y, inside the maps.

        Returns:
            [B, P, K, 2] float32, heatmap cells: the cell minus the joint, x then y.
        """
        ...


@dataclass(frozen=True)
class DenseOffsets:
    """Offsets that were computed everywhere.

    Attributes:
        offset: [B, 2K, h, w], heatmap cells.
    """

    offset: Tensor

    def at(self, cells: Tensor) -> Tensor:
        """See `Offsets.at`."""
        _, channels, _, width = self.offset.shape
        flat_cells = cells[..., 1] * width + cells[..., 0]
        picked = self.offset.flatten(2).gather(2, flat_cells.unsqueeze(1).expand(-1, channels, -1))
        return picked.view(len(picked), channels // 2, 2, -1).permute(0, 3, 1, 2).float()
