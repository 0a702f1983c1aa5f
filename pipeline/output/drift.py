"""Drift: what each generation's images look like beside those before, and what of it is more than chance.

The test: the images of a generation against those of up to 30 generations before, measure by measure, by
ranks (Mann and Whitney with ties; failures by Fisher's exact test). Images are what is drawn, so persons of
one image count once. Where earlier generations differ from each other by more than drawing images explains,
as those of different days do, the differences are measured in that larger unit (Laney's control chart). A
measure is named if its probability, times the measures still in question (Holm), is below 0.001 and the
shift is not tiny: about one false alarm in three years of nights.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import reduce
from operator import add
from statistics import fmean, median

from pydantic import BaseModel, ConfigDict

from pipeline.output.counts import TableCounts
from pipeline.output.measures import MEASURES, Measures
from pipeline.output.rank_test import Shift, rank_test, two_sided

__all__ = ["WINDOW", "Drift", "Moved", "drift_between", "drift_of"]

LEVEL = 0.001
"""Probability that chance alone names anything of a generation."""
WINDOW = 30
"""Generations before, at most, that a generation is compared with."""

_LEAST_SHIFT = 0.03
"""From which a shift matters, as a difference of `superiority` from 0.5: 3 pairs of images in 100."""
_LEAST_FAILED = 0.002
"""The same of the share of failed images."""
_MANY = 8
_MEDIAN_OF_SQUARES = 0.4549
"""The median of the squares of a standard normal variable."""


class Moved(BaseModel):
    """A measure that moved by more than chance.

    Attributes:
        measure: its name.
        now: mean over the generation's images.
        before: over those of the generations before.
        p_value: probability that chance alone moves it so far, corrected for the number of measures.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    measure: str
    now: float
    before: float
    p_value: float

    def words(self) -> str:
        """Such as `persons an image 2.1, before 1.4 (p = 3e-07)`."""
        what = MEASURES.get(self.measure, self.measure)
        return f"{what} {self.now:.3g}, before {self.before:.3g} (p = {self.p_value:.0e})"


class Drift(BaseModel):
    """A generation beside those before.

    Attributes:
        generation: its number.
        means: of its images, by measure; those that nothing is known of are left out.
        before: the same of the generations it is compared with.
        moved: what moved by more than chance, most certain first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    generation: int
    means: dict[str, float] = {}
    before: dict[str, float] = {}
    moved: tuple[Moved, ...] = ()


def drift_of(tables: TableCounts, as_of: int | None = None) -> dict[int, Drift]:
    """Of each generation in the tables that annotated anything, up to `as_of`, by its number."""
    measured: defaultdict[int, Measures] = defaultdict(Measures)
    for group in tables.groups:
        if as_of is None or group.generation <= as_of:
            measured[group.generation] += group.measures
    return {drift.generation: drift for drift in drift_between(measured.items())}


def drift_between(generations: Iterable[tuple[int, Measures]]) -> list[Drift]:
    """Of each of these generations beside those before it.

    Args:
        generations: number and measures, oldest first.
    """
    found: list[Drift] = []
    window: list[Measures] = []
    shifts: defaultdict[str, list[float]] = defaultdict(list)
    for number, measures in generations:
        if not measures.failed.images:
            continue
        before = reduce(add, window, Measures())
        tests = {name: rank_test(one.counts, getattr(before, name).counts) for name, one in measures}
        found.append(
            Drift(
                generation=number,
                means=_means(measures),
                before=_means(before),
                moved=_moved(tests, measures, before, shifts),
            )
        )
        for name, test in tests.items():
            if test is not None:
                shifts[name] = [*shifts[name], test.z][-WINDOW:]
        window = [*window, measures][-WINDOW:]
    return found


def _means(measures: Measures) -> dict[str, float]:
    return {name: one.mean for name, one in measures if one.mean is not None}


def _moved(
    tests: dict[str, Shift | None], now: Measures, before: Measures, shifts: dict[str, list[float]]
) -> tuple[Moved, ...]:
    known = {name: test for name, test in tests.items() if test is not None}
    p_values = {name: two_sided(test.z / _unit(shifts[name])) for name, test in known.items()}
    moved = []
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        p_value = min(1.0, p_values[name] * (len(p_values) - rank))
        if p_value >= LEVEL:
            break
        if abs(known[name].superiority - 0.5) >= (_LEAST_FAILED / 2 if name == "failed" else _LEAST_SHIFT):
            means = [getattr(measures, name).mean for measures in (now, before)]
            moved.append(Moved(measure=name, now=means[0], before=means[1], p_value=p_value))
    return tuple(moved)


def _unit(earlier: Sequence[float]) -> float:
    """By how much generations differ from each other, in standard errors of drawing images; at least 1.

    Of many the median tells it, which one strange generation does not move; of a few their mean square.
    """
    if not earlier:
        return 1.0
    squares = [z * z for z in earlier]
    return math.sqrt(
        max(1.0, median(squares) / _MEDIAN_OF_SQUARES if len(squares) >= _MANY else fmean(squares))
    )
