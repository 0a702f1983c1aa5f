"""The benchmark's numbers of a run beside those that others published, each with where it is from."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.evaluation.result import Evaluation
from pipeline.report.figures import Measured

__all__ = ["NumberRow", "measured", "number_rows"]

_MEANING = {
    "AP": "mean over OKS .50 to .95",
    "AP50": "at OKS .50",
    "AP75": "at OKS .75",
    "APm": "medium persons",
    "APl": "large persons",
    "AR": "mean over OKS .50 to .95",
    "AR50": "at OKS .50",
    "AR75": "at OKS .75",
    "ARm": "medium persons",
    "ARl": "large persons",
    "AP_easy": "easy, crowd index below 0.2",
    "AP_medium": "medium, crowd index below 0.8",
    "AP_hard": "hard, crowd index from 0.8",
}


@dataclass(frozen=True)
class NumberRow:
    """One of the benchmark's numbers.

    Attributes:
        name: as the benchmark calls it.
        meaning: of what it is.
        value: of this run; -1 where there was nobody to be found.
        interval: low and high of 95%; None where none was computed.
        without_overlap: of this run on images that are not in the training set; None where there is no such
            number.
        published: by others, one for each published row of the network; None where it was not published.
    """

    name: str
    meaning: str
    value: float
    interval: tuple[float, float] | None
    without_overlap: float | None
    published: tuple[float | None, ...]


def number_rows(evaluation: Evaluation) -> tuple[NumberRow, ...]:
    """All numbers, in the benchmark's order."""
    intervals = {} if evaluation.diagnosis is None else evaluation.diagnosis.intervals
    clean = evaluation.numbers_without_train_overlap
    return tuple(
        NumberRow(
            name=name,
            meaning=_MEANING[name],
            value=getattr(evaluation, name),
            interval=(intervals[name].low, intervals[name].high) if name in intervals else None,
            without_overlap=None if clean is None else getattr(clean, name),
            published=tuple(row.numbers.get(name) for row in evaluation.published),
        )
        for name in type(evaluation).model_fields
        if name in _MEANING
    )


def measured(evaluation: Evaluation) -> tuple[Measured, ...]:
    """AP of this run with its interval where there is one, then the published ones, for the plot."""
    own = number_rows(evaluation)[0]
    low, high = own.interval or (None, None)
    rows = [Measured("this run", own.value, low, high, ours=True)] if own.value >= 0 else []
    rows += [
        Measured(f"published: {row.split}, {row.scales}-scale, {_short(row.source)}", row.numbers["AP"])
        for row in evaluation.published
        if "AP" in row.numbers
    ]
    return tuple(rows)


def _short(source: str) -> str:
    return source.partition(",")[0]
