"""The choice itself: who is drawn for control, and what signals choose in turns within the caps."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.output.review_queue import Reason
from pipeline.review.image_features import STATUSES
from pipeline.review.near_duplicates import SeenImages
from pipeline.review.signals import Signal
from posrefine.errors import ImageStatus

__all__ = ["Chosen", "choose", "draw_control"]

_ROWS_AT_A_TIME = 1 << 18
_OK = STATUSES.index(ImageStatus.OK)


@dataclass(frozen=True)
class Chosen:
    """An image that was chosen.

    Attributes:
        index: among the images with features.
        reason: the first signal that chose it; `CONTROL` where none did.
        value: of the signal; None for `CONTROL`.
        is_control: whether it was drawn.
    """

    index: int
    reason: Reason
    value: float | None
    is_control: bool


def draw_control(rows: NDArray[Any], budget: int, share: float) -> tuple[NDArray[np.int64], int]:
    """A simple random sample of all images that did not fail, whatever signals, people or caps say of them.

    Args:
        rows: [N] of `FEATURES`.
        budget: of images to look at.
        share: of the budget that is drawn, 0 to 1.

    Returns:
        The indices that were drawn, in the order of the draw, and the number of images they were drawn from.
    """
    wanted, ok = math.ceil(budget * share - 1e-9), 0
    best = np.zeros(0, np.int64)
    for start in range(0, len(rows), _ROWS_AT_A_TIME):
        part = np.flatnonzero(rows["status"][start : start + _ROWS_AT_A_TIME] == _OK) + start
        ok += len(part)
        best = np.concatenate([best, part])
        best = best[np.lexsort((rows["order"][best], rows["draw"][best]))][:wanted]
    return best, ok


def choose(
    rows: NDArray[Any],
    signals: Sequence[Signal],
    control: NDArray[np.int64],
    wanted: int,
    per_folder: int | None,
    reviewed: NDArray[np.uint64],
) -> list[Chosen]:
    """Let signals choose in turns, each the best image that is left for it, and mix the control share in.

    A choice does not depend on the order of rows. Near-duplicates are chosen once, images that people have
    looked at never; of failed images one of a kind in a folder is. A signal that has no more is passed over.

    Args:
        rows: [N] of `FEATURES`.
        signals: in the order of their turns.
        control: indices of the control share, which is in anyway.
        wanted: images that signals choose.
        per_folder: most images of a folder, those of the control share counted; None for any number.
        reviewed: [R] of `content` that people have looked at.

    Returns:
        All that were chosen, best first, with the control share spread evenly among them.
    """
    drawn = {int(index): Chosen(int(index), Reason.CONTROL, None, True) for index in control}
    taken: list[Chosen] = []
    caps = _Caps(per_folder)
    for index in control:
        caps.add(rows[index])
    rankings = [_Ranking(rows, signal, 2 * (wanted + len(drawn)) + 64, reviewed, caps) for signal in signals]
    picked = set[int]()
    while rankings and len(taken) < wanted:
        for ranking in list(rankings):
            if len(taken) >= wanted:
                break
            for index, value in ranking.candidates:
                if index in drawn:
                    if drawn[index].reason is Reason.CONTROL:
                        drawn[index] = replace(drawn[index], reason=ranking.signal.reason, value=value)
                elif index not in picked and caps.allow(rows[index]):
                    taken.append(Chosen(index, ranking.signal.reason, value, False))
                    picked.add(index)
                    caps.add(rows[index])
                    break
            else:
                rankings.remove(ranking)
    return _mixed(taken, list(drawn.values()))


class _Caps:
    """What was taken, and what may not be taken beside it."""

    def __init__(self, per_folder: int | None) -> None:
        self._per_folder = per_folder
        self._folders: Counter[int] = Counter()
        self._failures: set[tuple[int, int]] = set()
        self._looks = SeenImages()

    def allow(self, row: np.void) -> bool:
        folder = int(row["folder"])
        if self._per_folder is not None and self._folders[folder] >= self._per_folder:
            return False
        if row["status"] != _OK and (folder, int(row["status"])) in self._failures:
            return False
        return not self._looks.has(row)

    def add(self, row: np.void) -> None:
        folder = int(row["folder"])
        self._folders[folder] += 1
        if row["status"] != _OK:
            self._failures.add((folder, int(row["status"])))
        self._looks.add(row)

    def full(self) -> NDArray[np.uint64]:
        """Folders of which no more is taken."""
        full = [f for f, count in self._folders.items() if self._per_folder and count >= self._per_folder]
        return np.array(full, np.uint64)


class _Ranking:
    """Images by a signal, best first: some at a time, so that memory does not grow with their number."""

    def __init__(
        self,
        rows: NDArray[Any],
        signal: Signal,
        at_a_time: int,
        reviewed: NDArray[np.uint64],
        caps: _Caps,
    ) -> None:
        self.signal = signal
        self._rows, self._at_a_time, self._reviewed, self._caps = rows, at_a_time, reviewed, caps
        self.candidates = self._ranked()
        """Index and value of each image that is worth looking at, best first."""

    def _ranked(self) -> Iterator[tuple[int, float]]:
        value, order = np.float32(np.inf), np.uint64(0)
        while True:
            indices, values = self._best_below(value, order)
            yield from zip(indices.tolist(), values.tolist(), strict=True)
            if len(indices) < self._at_a_time:
                return
            value, order = values[-1], self._rows["order"][indices[-1]]
            self._at_a_time *= 2

    def _best_below(
        self, value: np.float32, order: np.uint64
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The best images with a smaller value, or the same and a larger order."""
        best, best_values = np.zeros(0, np.int64), np.zeros(0, np.float32)
        full = self._caps.full()
        for start in range(0, len(self._rows), _ROWS_AT_A_TIME):
            rows = self._rows[start : start + _ROWS_AT_A_TIME]
            values = self.signal.values(rows)
            later = (values < value) | ((values == value) & (rows["order"] > order))
            which = np.flatnonzero(later & (values > 0))
            which = which[~np.isin(rows["content"][which], self._reviewed)]
            if len(full):
                which = which[~np.isin(rows["folder"][which], full)]
            best = np.concatenate([best, which + start])
            best_values = np.concatenate([best_values, values[which]])
            ranked = np.lexsort((self._rows["order"][best], -best_values))[: self._at_a_time]
            best, best_values = best[ranked], best_values[ranked]
        return best, best_values


def _mixed(taken: list[Chosen], drawn: list[Chosen]) -> list[Chosen]:
    """The control share at even distances, so that whoever stops early has looked at its part of it."""
    places = [(place + 0.5, chosen) for place, chosen in enumerate(taken)]
    distance = len(taken) / max(1, len(drawn))
    places += [((place + 0.5) * distance, chosen) for place, chosen in enumerate(drawn)]
    return [chosen for _, chosen in sorted(places, key=lambda item: (item[0], item[1].is_control))]
