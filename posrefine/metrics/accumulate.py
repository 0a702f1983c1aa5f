"""From merged matches to precision and recall (`COCOeval.accumulate` of pycocotools)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posrefine.metrics.match_table import MatchTable
from posrefine.metrics.protocol import Protocol

__all__ = ["Curves", "accumulate", "mean_precision", "precision_and_recall"]


@dataclass(frozen=True)
class Curves:
    """Precision-recall curves of a set of images; -1 throughout where there is no person to be found.

    Attributes:
        precision: [T, R, A] float64, per OKS threshold, recall threshold and area range.
        recall: [T, A] float64, the highest recall reached.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


def accumulate(
    table: MatchTable,
    protocol: Protocol,
    weights: NDArray[np.float64] | None = None,
    area_ranges: int | None = None,
) -> Curves:
    """Precision and recall over all images of the table.

    Args:
        table: merged matches.
        protocol: the one they were made with.
        weights: [I] how often each image counts, for resampling; all once by default.
        area_ranges: how many of the protocol's area ranges to compute, all by default.
    """
    thresholds, recalls = protocol.oks_thresholds, protocol.recall_thresholds
    ranges = table.positives.shape[1] if area_ranges is None else area_ranges
    precision = np.full((len(thresholds), len(recalls), ranges), -1.0)
    recall = np.full((len(thresholds), ranges), -1.0)
    order = np.argsort(-table.scores, kind="stable")
    detection_weights = None if weights is None else weights[table.detection_image[order]]
    for area in range(ranges):
        positives = table.positives[:, area] if weights is None else table.positives[:, area] * weights
        total = float(positives.sum())
        if total == 0:
            continue
        matched, ignored = table.matched[order, area], table.ignored[order, area]
        for index in range(len(thresholds)):
            counted = (ignored >> index & 1) == 0
            right = (matched >> index & 1).astype(bool)
            hits, misses = (right & counted).astype(float), (~right & counted).astype(float)
            if detection_weights is not None:
                hits, misses = hits * detection_weights, misses * detection_weights
            curve, highest = precision_and_recall(hits, misses, total, recalls)
            precision[index, :, area], recall[index, area] = curve, highest
    return Curves(precision, recall)


def precision_and_recall(
    hits: NDArray[np.float64], misses: NDArray[np.float64], positives: float, recalls: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """[R] interpolated precision at the recall thresholds, and the highest recall.

    Args:
        hits: [D] weight of right detections, best score first.
        misses: [D] weight of wrong ones.
        positives: persons to be found, above 0.
        recalls: [R] ascending.
    """
    curve = np.zeros(len(recalls))
    if len(hits) == 0:
        return curve, 0.0
    right, wrong = np.cumsum(hits), np.cumsum(misses)
    recall = right / positives
    precision = right / (wrong + right + np.spacing(1))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, recalls, side="left")
    reached = at < len(envelope)
    curve[reached] = envelope[at[reached]]
    return curve, float(recall[-1])


def mean_precision(values: NDArray[np.float64]) -> float:
    """Mean of the entries that are not -1; -1 if all are (the reference's AP and AR)."""
    valid = np.ascontiguousarray(values).ravel()
    valid = valid[valid > -1]
    return float(np.mean(valid)) if len(valid) else -1.0
