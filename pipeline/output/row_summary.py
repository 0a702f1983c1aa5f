"""What a page about a run shows of its rows, gathered while they are read for something else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.output.files import PersonRows
from pipeline.output.schema import ImageResult
from pipeline.output.stored_poses import POSE_COLUMNS, RESULT_COLUMNS, image_results, stored_persons
from posrefine.errors import ImageStatus

__all__ = ["SUMMARY_COLUMNS", "SUMMARY_FIELDS", "FailedImage", "RowSummary"]

SUMMARY_COLUMNS = list(RESULT_COLUMNS)
"""Columns of images that a summary needs."""
SUMMARY_FIELDS = list(POSE_COLUMNS)
"""Fields of persons that it needs."""

_FAILED_KEPT = 50


@dataclass(frozen=True)
class FailedImage:
    """An image without keypoints, and why."""

    key: str
    status: str
    error: str


@dataclass(frozen=True)
class RowSummary:
    """Some of a run's rows.

    Attributes:
        statuses: how many images have each status.
        failed: the first failed ones.
        sample: images of some files, whole, in order.
        scores: [N] float32, of all persons.
    """

    statuses: dict[str, int]
    failed: tuple[FailedImage, ...]
    sample: tuple[ImageResult, ...]
    scores: NDArray[np.float32]

    @staticmethod
    def of(rows: PersonRows, joints: int, *, whole: bool) -> RowSummary:
        """Of the rows of a file, which have the columns and fields that a summary needs.

        Args:
            rows: of the file.
            joints: of a person.
            whole: whether its images are part of the sample.
        """
        statuses = rows.images["status"].to_pylist()
        failed: list[FailedImage] = []
        for row, status in enumerate(statuses):
            if status != ImageStatus.OK and len(failed) < _FAILED_KEPT:
                key, error = (rows.images[name][row].as_py() for name in ("image_key", "error"))
                failed.append(FailedImage(key, status, error or ""))
        sample = (
            image_results(rows.images, stored_persons(rows.persons, joints), rows.per_image) if whole else ()
        )
        scores = np.asarray(pc.struct_field(rows.persons, "score"), np.float32)
        return RowSummary(dict(Counter(statuses)), tuple(failed), tuple(sample), scores)

    @staticmethod
    def merge(summaries: Iterable[RowSummary]) -> RowSummary:
        """Of several files, one after the other."""
        statuses: Counter[str] = Counter()
        failed: list[FailedImage] = []
        sample: list[ImageResult] = []
        scores = [np.zeros(0, np.float32)]
        for one in summaries:
            statuses.update(one.statuses)
            failed += one.failed[: _FAILED_KEPT - len(failed)]
            sample += one.sample
            scores.append(one.scores)
        return RowSummary(dict(statuses.most_common()), tuple(failed), tuple(sample), np.concatenate(scores))
