"""What tells near-duplicates by the tables alone: where the persons of an image are, in a few numbers.

A photograph that was saved again, made smaller or taken a moment later has its persons about where they
were, as shares of its sides. Persons near the least score come and go with such changes, so a person counts
by how far it is above. Images without persons are known by their bytes alone.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import product

import numpy as np
from numpy.typing import NDArray

__all__ = ["SIGNATURE_SIZE", "SeenImages", "signatures_of"]

_DIRECTIONS = 8
SIGNATURE_SIZE = 2 * _DIRECTIONS
"""Numbers in a signature."""

TOLERANCE = 0.025
"""Signatures that differ less in every number are of one picture; see `benchmarks/near_duplicates.py`."""
_ASPECT = 0.01
_BIN_AXES = 3


def signatures_of(
    image: NDArray[np.int64],
    keypoints: NDArray[np.float64],
    weights: NDArray[np.float64],
    width: NDArray[np.float64],
    height: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The signatures of some images.

    They are means over an image's persons, whose order does not matter, of coordinates and their squares,
    along a few directions: what is far apart in all coordinates is far apart in some of these.

    Args:
        image: [P] index of each person's image, ascending.
        keypoints: [P, K, 2] image px.
        weights: [P] how much each person counts.
        width: [N] image px.
        height: [N] image px.

    Returns:
        [N, SIGNATURE_SIZE]; NaN for images without persons that count.
    """
    signatures = np.full((len(width), SIGNATURE_SIZE), np.nan)
    if not len(image):
        return signatures
    frame = np.stack([width, height], axis=1)[image][:, np.newaxis]
    shares = (keypoints / np.maximum(frame, 1.0)).reshape(len(image), -1)
    starts = np.flatnonzero(np.diff(image, prepend=-1))
    total = np.add.reduceat(weights, starts)[:, np.newaxis]
    directions = _directions(shares.shape[1])
    along = np.concatenate([shares @ directions, shares**2 @ directions], axis=1)
    sums = np.add.reduceat(along * weights[:, np.newaxis], starts, axis=0)
    signatures[image[starts]] = np.where(total > 0, sums / np.maximum(total, 1e-12), np.nan)
    return signatures


def _directions(coordinates: int) -> NDArray[np.float64]:
    """[coordinates, _DIRECTIONS] orthonormal, the same ones always."""
    drawn = np.random.default_rng(0).normal(size=(coordinates, coordinates))
    directions: NDArray[np.float64] = np.linalg.qr(drawn)[0][:, :_DIRECTIONS]
    return directions


class SeenImages:
    """Bytes and signatures of images that were taken; tells whether another one is like one of them."""

    def __init__(self) -> None:
        self._contents: set[int] = set()
        self._bins: defaultdict[tuple[int, ...], list[tuple[float, NDArray[np.float64]]]] = defaultdict(list)

    def has(self, row: np.void) -> bool:
        """Whether an image with these bytes or this signature was taken."""
        if int(row["content"]) in self._contents:
            return True
        signature, aspect = _signature(row), float(row["aspect"])
        if signature is None:
            return False
        around = product(*((one - 1, one, one + 1) for one in _bin(signature)))
        return any(
            abs(aspect / other_aspect - 1.0) < _ASPECT and float(np.abs(other - signature).max()) < TOLERANCE
            for near in around
            for other_aspect, other in self._bins.get(near, ())
        )

    def add(self, row: np.void) -> None:
        """Remember an image."""
        if row["content"]:
            self._contents.add(int(row["content"]))
        signature = _signature(row)
        if signature is not None:
            self._bins[_bin(signature)].append((float(row["aspect"]), signature))


def _bin(signature: NDArray[np.float64]) -> tuple[int, ...]:
    return tuple(np.floor(signature[:_BIN_AXES] / TOLERANCE).astype(int).tolist())


def _signature(row: np.void) -> NDArray[np.float64] | None:
    signature = np.asarray(row["signature"], np.float64)
    return signature if np.isfinite(signature).all() else None
