"""Several sources learnt from at once, each with a share of the views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from posrefine.errors import ConfigurationError
from posrefine.training.samples import LabelledImage

__all__ = ["Mixture", "Part", "Source"]

TURN = 100
"""Draws after which every source has had its share exactly; shares are rounded to hundredths."""

ORDER_STREAM = 0
"""Keeps the random numbers of the data order apart from others of a run."""


class Source(Protocol):
    """Labelled images by position; the same position always gives the same image."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int) -> LabelledImage: ...


@dataclass(frozen=True)
class Part:
    """A source and its share of the views, relative to the other parts' shares."""

    source: Source
    share: float


@dataclass(frozen=True)
class Mixture:
    """Sources that take turns, evenly spread, so that nearly every batch has all of them in their shares.

    Each source is gone through in epochs of its own, in a new order every time, so that a small one with a
    large share is seen more often.
    """

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        if not self.parts:
            raise ConfigurationError("a mixture of no sources: give at least one")
        for part in self.parts:
            if not part.share > 0:
                raise ConfigurationError(f"a source's share is {part.share}: give a number above 0")
            if len(part.source) == 0:
                raise ConfigurationError("a source is empty: give one with at least one image")
        if len(self.parts) > TURN:
            raise ConfigurationError(f"{len(self.parts)} sources: {TURN} at most can take turns")

    @staticmethod
    def of(source: Source) -> Mixture:
        """One source alone."""
        return Mixture((Part(source, 1.0),))

    def __len__(self) -> int:
        return sum(len(part.source) for part in self.parts)

    def draw(self, seed: int, ordinal: int) -> tuple[Source, int]:
        """Which source the `ordinal`-th view of a run is of, and the image's position in it."""
        turn, slot = divmod(ordinal, TURN)
        whose, before, counts = _pattern(tuple(part.share for part in self.parts))
        index = int(whose[slot])
        source = self.parts[index].source
        serial = turn * int(counts[index]) + int(before[slot])
        epoch, place = divmod(serial, len(source))
        return source, int(_epoch_order(seed, epoch, index, len(source))[place])


@lru_cache(maxsize=8)
def _pattern(
    shares: tuple[float, ...],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """[TURN] source of each slot, [TURN] number of its slots before, [parts] slots of each source."""
    counts = _apportioned(shares)
    places = np.concatenate([(np.arange(count) + 0.5) / count for count in counts.tolist()])
    owners = np.repeat(np.arange(len(shares)), counts)
    whose = owners[np.argsort(places, kind="stable")]
    before = np.array([int((whose[:slot] == owner).sum()) for slot, owner in enumerate(whose)], np.int64)
    return whose, before, counts


def _apportioned(shares: Sequence[float]) -> NDArray[np.int64]:
    """[parts] slots of a turn by largest remainders, at least one each."""
    exact = np.asarray(shares) / np.sum(shares) * (TURN - len(shares))
    counts: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    rest = TURN - len(shares) - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:rest]] += 1
    counts += 1
    return counts


@lru_cache(maxsize=16)
def _epoch_order(seed: int, epoch: int, part: int, count: int) -> NDArray[np.int64]:
    entropy = [seed, ORDER_STREAM, epoch, part] if part else [seed, ORDER_STREAM, epoch]
    return np.random.default_rng(entropy).permutation(count)
