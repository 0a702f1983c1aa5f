"""The benchmark's numbers of a run beside those that others published, each with where it is from."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.evaluation import Evaluation
from pipeline.report.figures import Measured
from posrefine.metrics.published import PublishedRow

__all__ = ["HeadlineNumber", "NumberRow", "headline", "measured", "number_names", "number_rows"]

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
class HeadlineNumber:
    """One of the benchmark's numbers, measured here.

    Attributes:
        name: as the benchmark calls it.
        meaning: of what it is.
        value: -1 where there was nobody to be found.
        interval: low and high of 95%; None where none was computed.
    """

    name: str
    meaning: str
    value: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class NumberRow:
    """One row of the table of numbers.

    Attributes:
        origin: who measured it, in the first column.
        detail: which split, scales or images.
        ours: whether this run measured it.
        cells: as written, empty where it was not published.
    """

    origin: str
    detail: str
    ours: bool
    cells: tuple[str, ...]


def number_names(evaluation: Evaluation) -> tuple[str, ...]:
    """The benchmark's numbers, in its order."""
    return tuple(name for name in type(evaluation).model_fields if name in _MEANING)


def headline(evaluation: Evaluation) -> tuple[HeadlineNumber, ...]:
    """All numbers of this run."""
    intervals = {} if evaluation.diagnosis is None else evaluation.diagnosis.intervals
    return tuple(
        HeadlineNumber(
            name=name,
            meaning=_MEANING[name],
            value=getattr(evaluation, name),
            interval=(intervals[name].low, intervals[name].high) if name in intervals else None,
        )
        for name in number_names(evaluation)
    )


def number_rows(evaluation: Evaluation) -> tuple[NumberRow, ...]:
    """This run, its intervals, this run without leaked images, then what others published."""
    names = number_names(evaluation)
    numbers = headline(evaluation)
    rows = [NumberRow("this run", "", True, tuple(_written(number.value) for number in numbers))]
    if evaluation.diagnosis is not None:
        cells = tuple(
            "" if number.interval is None else f"{number.interval[0]:.3f}–{number.interval[1]:.3f}"
            for number in numbers
        )
        rows.append(NumberRow("this run", "95% interval", True, cells))
    clean = evaluation.numbers_without_train_overlap
    if clean is not None:
        cells = tuple(_written(getattr(clean, name)) for name in names)
        rows.append(NumberRow("this run", "without images of the training set", True, cells))
    return (*rows, *(_published(row, names) for row in evaluation.published))


def measured(evaluation: Evaluation) -> tuple[Measured, ...]:
    """AP of this run with its interval, then the published ones, for the plot."""
    own = headline(evaluation)[0]
    low, high = own.interval or (None, None)
    rows = [Measured("this run", own.value, low, high, ours=True)]
    rows += [
        Measured(f"published: {row.split}, {row.scales}-scale, {_short(row.source)}", row.numbers["AP"])
        for row in evaluation.published
        if "AP" in row.numbers
    ]
    return tuple(rows)


def _published(row: PublishedRow, names: tuple[str, ...]) -> NumberRow:
    cells = tuple(_written(row.numbers[name]) if name in row.numbers else "" for name in names)
    return NumberRow(
        f"published by {row.source}", f"{row.model}, {row.split}, {row.scales}-scale", False, cells
    )


def _short(source: str) -> str:
    return source.partition(",")[0]


def _written(value: float) -> str:
    return "–" if value < 0 else f"{value:.3f}"
