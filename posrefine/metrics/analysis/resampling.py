"""Intervals and differences that say how far the numbers would move with other images (bootstrap).

Images are drawn with replacement and every draw is scored from the merged matches, without matching again.
Above a few thousand images the draws are made within random subsets, weighted up to the full number of images
(the bag of little bootstraps, Kleiner et al. 2014), so the time does not grow with the data set.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from posrefine.errors import ConfigurationError
from posrefine.metrics.accumulate import Curves, Verdicts, curves_of, verdicts
from posrefine.metrics.match_table import MatchTable
from posrefine.metrics.oks_rules import OksRules
from posrefine.metrics.summary import (
    CROWD_SPLITS,
    coco_metrics,
    crowd_split,
    crowdpose_metrics,
    metrics_of,
)

__all__ = ["Difference", "Interval", "bootstrap_intervals", "compare"]

_SUBSET_IMAGES = 5_000
_SUBSETS = 5


class Interval(BaseModel):
    """Bounds of a 95% bootstrap interval; both -1 where there is nothing to be found."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float
    high: float


class Difference(BaseModel):
    """One number of this run less that of the other run, on the same images.

    Attributes:
        this: the number of this run.
        other: the number of the other run.
        difference: this less other.
        low: lower bound of the 95% interval of the difference.
        high: upper bound.
        p_value: two-sided, of the hypothesis that the runs do not differ; at least 1 / (draws + 1).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    this: float
    other: float
    difference: float
    low: float
    high: float
    p_value: float


def bootstrap_intervals(
    table: MatchTable,
    crowd_index: NDArray[np.float64],
    rules: OksRules,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Interval]:
    """95% intervals of all the protocol's numbers.

    Args:
        table: merged matches of I images.
        crowd_index: [I] float64, NaN where there is none.
        rules: the one that the table was made with.
        draws: resampled sets of images, over all subsets.
        seed: of the draws; equal seeds give equal intervals.
    """
    deviations = []
    for subset, weights in _subsets(len(table), draws, seed):
        scorer = _Scorer(table.select(subset), crowd_index[subset], rules)
        drawn = np.array([scorer.numbers(row) for row in weights])
        deviations.append(_bounds(drawn - scorer.numbers(_once_each(subset))))
    numbers = metrics_of(table, crowd_index, rules).model_dump()
    low, high = np.nan_to_num(_known(numbers) + _mean(deviations), nan=-1.0)
    return {
        name: Interval(low=float(low[index]), high=float(high[index])) for index, name in enumerate(numbers)
    }


def compare(
    this: MatchTable,
    other: MatchTable,
    crowd_index: NDArray[np.float64],
    rules: OksRules,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> dict[str, Difference]:
    """Paired bootstrap: both runs are scored on the same draws of images.

    A permutation test that swaps the runs image by image would mix scores of two scales in one ranking, so it
    is not used.

    Raises:
        ConfigurationError: the tables are of different images.
    """
    if not np.array_equal(this.image_ids, other.image_ids):
        raise ConfigurationError(
            f"comparison: this run has {len(this)} images, the other {len(other)}, and they are not the same "
            "ones; evaluate both against the same annotations"
        )
    deviations, below, above = [], 1.0, 1.0
    for subset, weights in _subsets(len(this), draws, seed):
        pair = [_Scorer(table.select(subset), crowd_index[subset], rules) for table in (this, other)]
        even = _once_each(subset)
        drawn = np.array([pair[0].numbers(row) - pair[1].numbers(row) for row in weights])
        deviations.append(_bounds(drawn - (pair[0].numbers(even) - pair[1].numbers(even))))
        below, above = below + (drawn <= 0).sum(axis=0), above + (drawn >= 0).sum(axis=0)
    ours, theirs = (metrics_of(table, crowd_index, rules).model_dump() for table in (this, other))
    low, high = np.nan_to_num(_known(ours) - _known(theirs) + _mean(deviations))
    p_values = np.minimum(1.0, 2 * np.minimum(below, above) / (draws + 1))
    return {
        name: Difference(
            this=ours[name],
            other=theirs[name],
            difference=ours[name] - theirs[name],
            low=float(low[index]),
            high=float(high[index]),
            p_value=float(p_values[index]),
        )
        for index, name in enumerate(ours)
    }


def _known(numbers: Mapping[str, float]) -> NDArray[np.float64]:
    """[M] the numbers, NaN where there is nothing to be found."""
    values = np.array(list(numbers.values()))
    return np.where(values == -1, np.nan, values)


def _once_each(subset: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.ones(len(subset), np.int64)


def _bounds(deviations: NDArray[np.float64]) -> NDArray[np.float64]:
    """[2, M] middle 95% of the deviations [draws, M], leaving out draws without number; NaN if none has."""
    bounds = np.full((2, deviations.shape[1]), np.nan)
    for index, column in enumerate(deviations.T):
        if np.isfinite(column).any():
            bounds[:, index] = np.nanpercentile(column, [2.5, 97.5])
    return bounds


def _mean(bounds: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """[2, M] mean over the subsets that have a number; NaN if none has one."""
    stacked = np.array(bounds)
    known = np.isfinite(stacked)
    total = np.where(known, stacked, 0.0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)


def _subsets(
    images: int, draws: int, seed: int
) -> Iterator[tuple[NDArray[np.int64], Iterator[NDArray[np.int64]]]]:
    """Subsets of the positions of all images, each with its weights: rows that add up to `images`."""
    rng = np.random.default_rng(seed)
    subsets = 1 if images <= _SUBSET_IMAGES else _SUBSETS
    for _ in range(subsets):
        chosen = np.sort(rng.choice(images, min(images, _SUBSET_IMAGES), replace=False))
        even = np.full(len(chosen), 1 / len(chosen))
        count = -(-draws // subsets)
        yield chosen, (rng.multinomial(images, even) for _ in range(count))


@dataclass
class _Scorer:
    """Scores one table again and again under different weights of its images."""

    table: MatchTable
    crowd_index: NDArray[np.float64]
    rules: OksRules

    def __post_init__(self) -> None:
        self._verdicts = list(verdicts(self.table))
        self._everywhere = [verdict for verdict in self._verdicts if verdict.area == 0]
        self._splits = crowd_split(self.crowd_index)

    def numbers(self, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """[M] the protocol's numbers, NaN where there is nothing to be found."""
        return _known(self._metrics(weights))

    def _metrics(self, weights: NDArray[np.int64]) -> dict[str, float]:
        if self.rules.name == "coco":
            return coco_metrics(self._curves(self._verdicts, weights)).model_dump()
        whole = self._curves(self._everywhere, weights)
        parts = [
            self._curves(self._everywhere, weights * (self._splits == s)) for s in range(len(CROWD_SPLITS))
        ]
        return crowdpose_metrics(whole, *parts).model_dump()

    def _curves(self, judged: list[Verdicts], weights: NDArray[np.int64]) -> Curves:
        return curves_of(judged, self.table, self.rules, weights)
