"""Decoding a large picture smaller: by how much, and where its pixels lie in the picture itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["WHOLE", "Reduction", "needed_size_px", "reduction_factor"]

_FACTORS = (8, 4, 2)
_LEAST_NEEDED_PX = 512
"""COCO's photographs, of 640 px at most, are never below half: what is published on them stays exact."""


@dataclass(frozen=True)
class Reduction:
    """How pixels of a picture that was decoded smaller lie in the picture.

    Attributes:
        factor: 1, 2, 4 or 8; a pixel is the mean of a block of so many px across and down, about.
        beyond_x: px by which the first column of blocks begins left of the picture. Only of pictures that
            were turned by EXIF and whose size is no multiple of the factor: blocks are counted from where the
            stored picture begins.
        beyond_y: the same of the first row, above the picture.
    """

    factor: int = 1
    beyond_x: int = 0
    beyond_y: int = 0

    def to_picture(self, points: NDArray[np.floating]) -> NDArray[np.floating]:
        """[..., 2] in px of the reduced picture, to px of the picture: x * factor + (factor - 1) / 2."""
        if self.factor == 1:
            return points
        shift = (self.factor - 1) / 2 - np.array([self.beyond_x, self.beyond_y], points.dtype)
        return (points * points.dtype.type(self.factor) + shift).astype(points.dtype)

    def turned(self, orientation: int, width: int, height: int) -> Reduction:
        """The same of pixels that were turned upright by their EXIF orientation, 1 to 8.

        `width` and `height` are of the whole picture, upright, px.
        """
        from_right, from_below = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
        return Reduction(
            self.factor,
            -width % self.factor if from_right else 0,
            -height % self.factor if from_below else 0,
        )


WHOLE = Reduction()


def needed_size_px(input_size: int, scales: Sequence[float]) -> int:
    """The short side that a picture must keep, px.

    That is what the network takes at its largest test scale, and 512 px at least.

    Args:
        input_size: short side of the network's input at scale 1, px.
        scales: of the test.
    """
    return max(_LEAST_NEEDED_PX, math.ceil(input_size * max(scales)))


def reduction_factor(width: int, height: int, needed_px: int | None) -> int:
    """By how much a picture can be decoded smaller while its short side keeps `needed_px`: 1, 2, 4 or 8.

    1 without a need, and for every picture whose short side is below twice the need.
    """
    if needed_px is None:
        return 1
    return next((factor for factor in _FACTORS if min(width, height) >= factor * max(1, needed_px)), 1)
