"""A standing data set on its report: its generations over time, and what of them drifted."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from pipeline.output.counts import TableCounts
from pipeline.output.drift import Drift, drift_of
from pipeline.output.generations import FIRST_GENERATION
from pipeline.output.measures import MEASURES, Measures
from pipeline.output.run_output import RunOutput
from pipeline.report.over_time import Point, bars_over, line_over

__all__ = ["DataSet", "GenerationFacts", "read_data_set"]

_SHOWN_IN_FIGURES = 60
_SHOWN_IN_TABLE = 15


@dataclass(frozen=True)
class GenerationFacts:
    """One generation in the tables.

    Attributes:
        number: of it.
        planned_at: when the input was compared with what was known.
        new: images and shards that were not there before.
        stale: that had become others.
        orphaned: that were gone.
        images: that it annotated.
        failed: of them.
        drift: its images beside those before; None where it annotated nothing.
    """

    number: int
    planned_at: datetime
    new: int
    stale: int
    orphaned: int
    images: int
    failed: int
    drift: Drift | None


@dataclass(frozen=True)
class DataSet:
    """What a report says of a standing data set.

    Attributes:
        generations: in the tables, the last ones, oldest first.
        earlier: generations before these.
    """

    generations: tuple[GenerationFacts, ...]
    earlier: int

    @property
    def listed(self) -> tuple[GenerationFacts, ...]:
        """Those in the table, the last one on top."""
        return self.generations[: -_SHOWN_IN_TABLE - 1 : -1]

    def images_figure(self) -> str:
        """Images that each generation annotated, failed ones apart."""
        names = [str(one.number) for one in self.generations]
        parts = [(one.images - one.failed, one.failed) for one in self.generations]
        return bars_over(names, parts, "generation", "images", ("annotated", "failed"))

    def measure_figures(self) -> list[tuple[str, str]]:
        """What is measured of images, in words, with its means over the generations as a figure."""
        return [
            (words, line_over(points, "generation", words))
            for name, words in MEASURES.items()
            if len(points := self._points(name)) > 1
        ]

    def _points(self, measure: str) -> list[Point]:
        return [
            Point(one.number, one.drift.means[measure], _moved(one.drift, measure))
            for one in self.generations
            if one.drift is not None and measure in one.drift.means
        ]


def read_data_set(output: RunOutput, tables: TableCounts | None) -> DataSet | None:
    """From the plans of the generations and the counts of the tables; no row is read.

    Args:
        output: of the run.
        tables: their counts; None where they are not finished.

    Returns:
        None of a run that no sync has added to, or whose tables are not finished.
    """
    if tables is None or tables.generation == FIRST_GENERATION:
        return None
    last = tables.generation if output.as_of is None else output.as_of
    planned = [one for one in output.generations(output.require_record()) if one.number <= last]
    if len(planned) < 2:
        return None
    drifts, measured = drift_of(tables, output.as_of), _measured(tables)
    facts = [
        GenerationFacts(
            number=one.number,
            planned_at=one.planned_at,
            new=one.new,
            stale=one.stale,
            orphaned=one.orphaned,
            images=measured[one.number].failed.images,
            failed=round(measured[one.number].failed.total),
            drift=drifts.get(one.number),
        )
        for one in planned
    ]
    return DataSet(tuple(facts[-_SHOWN_IN_FIGURES:]), max(0, len(facts) - _SHOWN_IN_FIGURES))


def _measured(tables: TableCounts) -> defaultdict[int, Measures]:
    found: defaultdict[int, Measures] = defaultdict(Measures)
    for group in tables.groups:
        found[group.generation] += group.measures
    return found


def _moved(drift: Drift, measure: str) -> bool:
    return any(moved.measure == measure for moved in drift.moved)
