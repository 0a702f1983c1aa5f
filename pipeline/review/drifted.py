"""Which images make the drift of a generation: those that it has many of, and generations before had few."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.output.drift import WINDOW, drift_of
from pipeline.output.measures import MEASURES, Measures, bins_of
from pipeline.output.run_output import RunOutput

__all__ = ["Drifted"]

LEAST_RATIO = 1.5
"""By so much a kind of image must have become more frequent to be a reason."""


@dataclass(frozen=True)
class Drifted:
    """What of the last generation that annotated anything moved by more than chance.

    Attributes:
        generation: its number.
        first_unit: number of its first unit.
        last_unit: of its last one.
        now: [B] share of its images in each bin of each measure that moved, by name.
        before: [B] likewise of the generations that it is compared with.
    """

    generation: int
    first_unit: int
    last_unit: int
    now: dict[str, NDArray[np.float64]]
    before: dict[str, NDArray[np.float64]]

    @staticmethod
    def of(output: RunOutput) -> Drifted | None:
        """Of an output; None where nothing moved, or there are no two generations."""
        record, tables = output.record(), output.counts()
        if record is None or tables is None:
            return None
        found = drift_of(tables, output.as_of)
        if not found:
            return None
        last = max(found)
        names = [moved.measure for moved in found[last].moved]
        if not names:
            return None
        measured: defaultdict[int, Measures] = defaultdict(Measures)
        for group in tables.groups:
            measured[group.generation] += group.measures
        earlier = sorted(number for number in found if number < last)[-WINDOW:]
        before = reduce(add, (measured[number] for number in earlier), Measures())
        generation = output.generations(record)[last - 1]
        return Drifted(
            last,
            generation.first_unit,
            generation.first_unit + generation.units - 1,
            {name: _shares(getattr(measured[last], name).counts) for name in names},
            {name: _shares(getattr(before, name).counts) for name in names},
        )

    def values(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Of [N] images of `FEATURES`: by how much images of their kind have become more frequent, as a
        logarithm; 0 for those of other generations."""
        most: NDArray[np.float32] = self._by_measure(rows).max(axis=0)
        return most

    def words(self, row: np.void) -> str:
        """What one of these images shows more of than those before."""
        rows = np.array([row])
        name = list(self.now)[int(self._by_measure(rows)[:, 0].argmax())]
        bin_ = int(bins_of(name, rows[name])[0])
        what = "failed" if name == "failed" else f"{MEASURES[name]} {float(row[name]):.3g}"
        return (
            f"drift: {what}, like {self.now[name][bin_]:.1%} of generation {self.generation} and "
            f"{self.before[name][bin_]:.1%} of those before"
        )

    def _by_measure(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """[measures, N]."""
        ours = (rows["unit"] >= self.first_unit) & (rows["unit"] <= self.last_unit)
        found = np.zeros((len(self.now), len(rows)), np.float32)
        for place, (name, now) in enumerate(self.now.items()):
            ratios = np.log(now / self.before[name])
            ratios[ratios < np.log(LEAST_RATIO)] = 0.0
            known = np.flatnonzero(ours & np.isfinite(rows[name]))
            found[place, known] = ratios[bins_of(name, rows[name][known])]
        return found


def _shares(counts: tuple[int, ...]) -> NDArray[np.float64]:
    """Of each bin; never 0, for what was not seen yet may come."""
    numbers = np.array(counts, np.float64) + 0.5
    shares: NDArray[np.float64] = numbers / numbers.sum()
    return shares
