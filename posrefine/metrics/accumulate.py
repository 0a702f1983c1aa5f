"""From merged matches to precision and recall (`COCOeval.accumulate` of pycocotools)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posrefine.metrics.match_table import MatchTable
from posrefine.metrics.oks_rules import OksRules

__all__ = ["Curves", "Verdicts", "accumulate", "curves_of", "mean_valid", "verdicts"]


@dataclass(frozen=True)
class Curves:
    """Precision-recall curves of a set of images; -1 throughout where there is no person to be found.

    Attributes:
        precision: [T, R, A] float64, per OKS threshold, recall threshold and area range.
        recall: [T, A] float64, the highest recall reached.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


@dataclass(frozen=True)
class Verdicts:
    """The detections that count at one OKS threshold in one area range, best score first.

    Attributes:
        threshold: position of the OKS threshold.
        area: position of the area range.
        image: [D'] int64, position of each detection's image in the table.
        right: [R] int64, positions of those that took a person, ascending.
        positives: [I] persons to be found in each image.
    """

    threshold: int
    area: int
    image: NDArray[np.int64]
    right: NDArray[np.int64]
    positives: NDArray[np.int32]


def verdicts(table: MatchTable) -> Iterator[Verdicts]:
    """Every threshold and area range of the table, one after the other.

    Equal scores keep the order of the image ids and, within an image, that of the detections, as the stable
    sort of the reference does.
    """
    order = np.argsort(-table.scores, kind="stable")
    image = table.detection_image[order]
    for area in range(table.positives.shape[1]):
        matched, ignored = table.matched[order, area], table.ignored[order, area]
        for threshold in range(table.num_thresholds):
            counted = (ignored >> threshold & 1) == 0
            right = np.flatnonzero(matched[counted] >> threshold & 1)
            yield Verdicts(threshold, area, image[counted], right, table.positives[:, area])


def accumulate(table: MatchTable, rules: OksRules) -> Curves:
    """Precision and recall over all images of the table, each counted once."""
    return curves_of(verdicts(table), table, rules)


def curves_of(
    judged: Iterator[Verdicts] | list[Verdicts],
    table: MatchTable,
    rules: OksRules,
    weights: NDArray[np.int64] | None = None,
) -> Curves:
    """Precision and recall from the verdicts of a table.

    Args:
        judged: `verdicts(table)`, listed where they are used again.
        table: merged matches of I images.
        rules: the one they were made with.
        weights: [I] how often each image counts, for resampling; once each by default.
    """
    recalls, ranges = rules.recall_thresholds, table.positives.shape[1]
    precision = np.full((table.num_thresholds, len(recalls), ranges), -1.0)
    recall = np.full((table.num_thresholds, ranges), -1.0)
    for verdict in judged:
        counted = np.ones(len(verdict.image), np.int64) if weights is None else weights[verdict.image]
        positives = float(verdict.positives.sum() if weights is None else verdict.positives @ weights)
        if positives > 0:
            curve, highest = _precision_and_recall(counted, verdict.right, positives, recalls)
            precision[verdict.threshold, :, verdict.area] = curve
            recall[verdict.threshold, verdict.area] = highest
    return Curves(precision, recall)


def _precision_and_recall(
    counted: NDArray[np.int64], right: NDArray[np.int64], positives: float, recalls: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """[R] interpolated precision at the recall thresholds and the highest recall; weights [D], best first.

    Recall rises, and precision is highest, where a detection is right: the others need only be counted.
    """
    curve = np.zeros(len(recalls))
    found, tried = np.cumsum(counted[right]), np.cumsum(counted)[right]
    if len(found) == 0:
        return curve, 0.0
    recall = found / positives
    at = np.searchsorted(recall, recalls, side="left")
    at = at[at < len(recall)]
    # The highest precision from each threshold to the next, and from there to the end: recalls ascend.
    stretches = np.maximum.reduceat(found / (tried + np.spacing(1)), at)
    curve[: len(at)] = np.maximum.accumulate(stretches[::-1])[::-1]
    return curve, float(recall[-1])


def mean_valid(values: NDArray[np.float64]) -> float:
    """Mean of the entries that are not -1; -1 if all are (the reference's AP and AR)."""
    valid = np.ascontiguousarray(values).ravel()
    valid = valid[valid > -1]
    return float(np.mean(valid)) if len(valid) else -1.0
