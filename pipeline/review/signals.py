"""The signals by which images are worth looking at: a value of each image, and what to tell a reviewer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.output.review_queue import Reason
from pipeline.review.drifted import Drifted
from pipeline.review.image_features import NEAR_FLOOR, STATUSES
from pipeline.review.outliers import TypicalPoses, TypicalSizes
from posrefine.errors import ImageStatus

__all__ = ["Signal", "signals_of"]

UNUSUAL_SIZE = 2.0
"""Robust standard deviations from the middle from which a size is unusual."""

_REPLACED = "people looked at another image of this name, which was replaced since"
_WORTH = {
    ImageStatus.TIMEOUT: 3,
    ImageStatus.WORKER_DIED: 3,
    ImageStatus.TOO_LARGE: 3,
    ImageStatus.TRUNCATED: 2,
    ImageStatus.UNSUPPORTED: 2,
    ImageStatus.UNREADABLE: 2,
    ImageStatus.CORRUPT: 1,
    ImageStatus.CHANGED: 1,
}
"""Of failures that may hide a good photograph; the larger, the likelier. Missing images hide none."""


@dataclass(frozen=True)
class Signal:
    """One of them.

    Attributes:
        reason: its name.
        values: of [N] images of `FEATURES`, the larger the more worth looking at; those that are not above 0
            are not.
        words: for a reviewer, of one of these images.
    """

    reason: Reason
    values: Callable[[NDArray[Any]], NDArray[np.float32]]
    words: Callable[[Any], str]


def signals_of(
    min_score: float, poses: TypicalPoses | None, sizes: TypicalSizes | None, drifted: Drifted | None
) -> tuple[Signal, ...]:
    """The signals of a run, in the order in which they choose.

    Args:
        min_score: from which persons count.
        poses: of the run's persons; None where they are too few.
        sizes: likewise.
        drifted: what moved with the last generation; None for nothing.
    """
    signals = [
        Signal(Reason.REPLACED, _field("replaced"), lambda _: _REPLACED),
        Signal(Reason.PEOPLE_DIFFER, _field("differ"), _differ_words),
        Signal(Reason.VIEW_SPREAD, _field("view_spread"), _spread_words),
        Signal(Reason.NEAR_FLOOR, _field("near_floor"), lambda row: _near_words(row, min_score)),
    ]
    if poses is not None:
        signals.append(_unusual_pose(poses))
    if sizes is not None:
        signals.append(_unusual_size(sizes))
    if drifted is not None:
        signals.append(Signal(Reason.DRIFT, drifted.values, drifted.words))
    signals.append(Signal(Reason.FAILED, _failed, _failed_words))
    return tuple(signals)


def _field(name: str) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    return lambda rows: rows[name].astype(np.float32)


def _differ_words(row: np.void) -> str:
    persons = "1 person" if row["differ"] == 1 else f"{row['differ']} persons"
    return (
        f"{persons} found by one of two runs alone: {row['persons']:.0f} in this one, "
        f"{row['other_persons']} in the other"
    )


def _spread_words(row: np.void) -> str:
    return (
        f"test-time views {row['view_spread_px']:.1f} px apart on average, {row['view_spread']:.1%} of the "
        "person's size"
    )


def _near_words(row: np.void, min_score: float) -> str:
    persons = "1 person" if row["near_persons"] == 1 else f"{row['near_persons']} persons"
    return f"{persons} within {NEAR_FLOOR:g} of {min_score:g}, the score from which persons count"


def _unusual_pose(poses: TypicalPoses) -> Signal:
    def values(rows: NDArray[Any]) -> NDArray[np.float32]:
        return np.where(rows["pose"] > poses.usual, rows["pose"], np.float32(0))

    def words(row: np.void) -> str:
        return (
            f"a pose unlike others of this run: joints {row['pose']:.2f} of the person's extent away from "
            f"the most alike of {len(poses.poses):,}"
        )

    return Signal(Reason.UNUSUAL_POSE, values, words)


def _unusual_size(sizes: TypicalSizes) -> Signal:
    def values(rows: NDArray[Any]) -> NDArray[np.float32]:
        low, high = (sizes.distance(rows[name].astype(np.float64)) for name in ("least_size", "largest_size"))
        found = np.maximum(-low, high)
        return np.where(found > UNUSUAL_SIZE, found, 0.0).astype(np.float32)

    def words(row: np.void) -> str:
        low, high = (
            float(sizes.distance(row[name].astype(np.float64))) for name in ("least_size", "largest_size")
        )
        size, far, how = (
            (row["least_size"], -low, "smaller") if -low >= high else (row["largest_size"], high, "larger")
        )
        deviations = f"{far:.1f} robust standard deviations"
        return f"a person of {size:.1%} of the image's size, {deviations} {how} than usual"

    return Signal(Reason.UNUSUAL_SIZE, values, words)


_WORTH_BY_CODE = np.array([_WORTH.get(status, 0) for status in STATUSES], np.float32)


def _failed(rows: NDArray[Any]) -> NDArray[np.float32]:
    worth: NDArray[np.float32] = _WORTH_BY_CODE[rows["status"]]
    return worth


def _failed_words(row: np.void) -> str:
    return f"failed ({STATUSES[row['status']].value}) and may hold people"
