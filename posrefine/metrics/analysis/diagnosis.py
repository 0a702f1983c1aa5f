"""Kinds of errors of persons and keypoints, and calibration of the scores."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from posrefine.metrics.analysis.error_table import ErrorTable, JointVerdict
from posrefine.metrics.match_table import MatchTable
from posrefine.metrics.oks_rules import OksRules

__all__ = [
    "Calibration",
    "CalibrationBin",
    "JointErrors",
    "PersonErrors",
    "calibration",
    "joint_errors",
    "person_errors",
    "reliability",
]

_BINS = 10


class PersonErrors(BaseModel):
    """Whole persons at OKS 0.5.

    Attributes:
        persons: to be found.
        found: taken by a detection.
        missed: taken by none.
        false_positives: detections that took no person (persons found twice among them).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    persons: int
    found: int
    missed: int
    false_positives: int


class JointErrors(BaseModel):
    """Labelled joints of one name on persons that were found, by verdict; the five add up to `labelled`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    joint: str
    labelled: int
    good: int
    jitter: int
    swapped_sides: int
    other_person: int
    missed: int


class CalibrationBin(BaseModel):
    """Detections whose score lies in [low, high), the last bin with its upper end."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float
    high: float
    count: int
    mean_score: float
    mean_oks: float


class Calibration(BaseModel):
    """Scores against the OKS that the detections have with the persons they took.

    Attributes:
        expected_calibration_error: mean of |mean score - mean OKS| over the bins, weighted by their counts.
        bins: ten of equal width over 0..1; scores outside are put into the first or the last.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    expected_calibration_error: float
    bins: tuple[CalibrationBin, ...]


def person_errors(table: MatchTable) -> PersonErrors:
    """Persons found and missed, from merged matches."""
    counted = (table.ignored[:, 0] & 1) == 0
    right = (table.matched[:, 0] & 1) == 1
    persons, found = int(table.positives[:, 0].sum()), int((counted & right).sum())
    return PersonErrors(
        persons=persons, found=found, missed=persons - found, false_positives=int((counted & ~right).sum())
    )


def joint_errors(table: ErrorTable, rules: OksRules) -> tuple[JointErrors, ...]:
    """Verdicts by joint, from a merged table."""
    totals = table.verdicts.sum(axis=0, dtype=np.int64)
    return tuple(
        JointErrors(
            joint=joint,
            labelled=int(row.sum()),
            **{verdict.name.lower(): int(row[verdict]) for verdict in JointVerdict},
        )
        for joint, row in zip(rules.skeleton.joints, totals, strict=True)
    )


def calibration(table: ErrorTable) -> Calibration:
    """Reliability of the scores, from a merged table."""
    return reliability(table.scores, table.oks)


def reliability(scores: NDArray[np.floating], oks: NDArray[np.floating]) -> Calibration:
    """Of [D] scores whose poses reached [D] OKS; those with NaN, of which nobody can say it, are left out."""
    counted = np.isfinite(oks)
    scores, oks = scores[counted].astype(float), oks[counted].astype(float)
    bin_of = np.clip((scores * _BINS).astype(int), 0, _BINS - 1)
    counts = np.bincount(bin_of, minlength=_BINS)
    share = np.maximum(counts, 1)
    mean_score = np.bincount(bin_of, scores, _BINS) / share
    mean_oks = np.bincount(bin_of, oks, _BINS) / share
    error = float((np.abs(mean_score - mean_oks) * counts).sum() / max(1, counts.sum()))
    bins = tuple(
        CalibrationBin(
            low=index / _BINS,
            high=(index + 1) / _BINS,
            count=int(counts[index]),
            mean_score=float(mean_score[index]),
            mean_oks=float(mean_oks[index]),
        )
        for index in range(_BINS)
    )
    return Calibration(expected_calibration_error=error, bins=bins)
