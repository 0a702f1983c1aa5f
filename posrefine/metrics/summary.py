"""The published numbers of both benchmarks, from merged matches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posrefine.metrics.accumulate import Curves, accumulate, mean_valid
from posrefine.metrics.match_table import MatchTable
from posrefine.metrics.oks_rules import OksRules
from posrefine.metrics.results import CocoMetrics, CrowdPoseMetrics

__all__ = ["CROWD_SPLITS", "coco_metrics", "crowd_split", "crowdpose_metrics", "metrics_of"]

CROWD_SPLITS = ("easy", "medium", "hard")
_CROWD_LIMITS = (0.2, 0.8)
_AT_50, _AT_75 = 0, 5
_ALL, _MEDIUM, _LARGE = 0, 1, 2


def coco_metrics(curves: Curves) -> CocoMetrics:
    """COCO's ten numbers."""
    precision, recall = curves.precision, curves.recall
    return CocoMetrics(
        AP=mean_valid(precision[:, :, _ALL]),
        AP50=mean_valid(precision[_AT_50, :, _ALL]),
        AP75=mean_valid(precision[_AT_75, :, _ALL]),
        APm=mean_valid(precision[:, :, _MEDIUM]),
        APl=mean_valid(precision[:, :, _LARGE]),
        AR=mean_valid(recall[:, _ALL]),
        AR50=mean_valid(recall[_AT_50, _ALL]),
        AR75=mean_valid(recall[_AT_75, _ALL]),
        ARm=mean_valid(recall[:, _MEDIUM]),
        ARl=mean_valid(recall[:, _LARGE]),
    )


def crowd_split(crowd_index: NDArray[np.float64]) -> NDArray[np.int64]:
    """[I] position in `CROWD_SPLITS` of each image's crowdIndex; -1 where the index is absent (NaN)."""
    split = np.searchsorted(_CROWD_LIMITS, crowd_index, side="right")
    return np.where(np.isnan(crowd_index), -1, split)


def crowdpose_metrics(curves: Curves, easy: Curves, medium: Curves, hard: Curves) -> CrowdPoseMetrics:
    """CrowdPose's nine numbers, from the curves of all images and of the images of each split alone."""
    precision, recall = curves.precision[:, :, _ALL], curves.recall[:, _ALL]
    return CrowdPoseMetrics(
        AP=mean_valid(precision),
        AP50=mean_valid(precision[_AT_50]),
        AP75=mean_valid(precision[_AT_75]),
        AR=mean_valid(recall),
        AR50=mean_valid(recall[_AT_50]),
        AR75=mean_valid(recall[_AT_75]),
        AP_easy=_split_precision(easy),
        AP_medium=_split_precision(medium),
        AP_hard=_split_precision(hard),
    )


def metrics_of(
    table: MatchTable, crowd_index: NDArray[np.float64], rules: OksRules
) -> CocoMetrics | CrowdPoseMetrics:
    """The protocol's numbers of merged matches.

    Args:
        table: I images.
        crowd_index: [I] float64, for CrowdPose's splits; images without one (NaN) count in none of them.
        rules: the one that the table was made with.
    """
    whole = accumulate(table, rules)
    if rules.name == "coco":
        return coco_metrics(whole)
    splits = crowd_split(crowd_index)
    parts = [
        accumulate(table.select(np.flatnonzero(splits == split)), rules) for split in range(len(CROWD_SPLITS))
    ]
    return crowdpose_metrics(whole, *parts)


def _split_precision(curves: Curves) -> float:
    """Plain mean of the precision array, -1 entries included, rounded: the CrowdPose tool's habit."""
    return round(float(np.mean(curves.precision[:, :, _ALL])), 4)
