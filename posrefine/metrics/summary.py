"""The published numbers of both benchmarks, from merged matches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posrefine.metrics.accumulate import Curves, accumulate, mean_precision
from posrefine.metrics.match_table import MatchTable
from posrefine.metrics.protocol import Protocol
from posrefine.metrics.results import CocoMetrics, CrowdPoseMetrics

__all__ = ["CROWD_SPLITS", "coco_metrics", "crowd_split", "crowdpose_metrics"]

CROWD_SPLITS = ("easy", "medium", "hard")
_CROWD_LIMITS = (0.2, 0.8)
_AT_50, _AT_75 = 0, 5
_ALL, _MEDIUM, _LARGE = 0, 1, 2


def coco_metrics(curves: Curves) -> CocoMetrics:
    """COCO's ten numbers."""
    precision, recall = curves.precision, curves.recall
    return CocoMetrics(
        AP=mean_precision(precision[:, :, _ALL]),
        AP50=mean_precision(precision[_AT_50, :, _ALL]),
        AP75=mean_precision(precision[_AT_75, :, _ALL]),
        APm=mean_precision(precision[:, :, _MEDIUM]),
        APl=mean_precision(precision[:, :, _LARGE]),
        AR=mean_precision(recall[:, _ALL]),
        AR50=mean_precision(recall[_AT_50, _ALL]),
        AR75=mean_precision(recall[_AT_75, _ALL]),
        ARm=mean_precision(recall[:, _MEDIUM]),
        ARl=mean_precision(recall[:, _LARGE]),
    )


def crowd_split(crowd_index: NDArray[np.float64]) -> NDArray[np.int64]:
    """[I] position in `CROWD_SPLITS` of each image's crowdIndex; -1 where the index is absent (NaN)."""
    split = np.searchsorted(_CROWD_LIMITS, crowd_index, side="right")
    return np.where(np.isnan(crowd_index), -1, split)


def crowdpose_metrics(
    table: MatchTable, curves: Curves, crowd_index: NDArray[np.float64], protocol: Protocol
) -> CrowdPoseMetrics:
    """CrowdPose's nine numbers.

    Args:
        table: merged matches of I images.
        curves: those of the whole table.
        crowd_index: [I] float64; images without one (NaN) count in no split.
        protocol: CrowdPose's.
    """
    splits = crowd_split(crowd_index)
    easy, medium, hard = (_split_precision(table.select(splits == split), protocol) for split in range(3))
    precision, recall = curves.precision[:, :, _ALL], curves.recall[:, _ALL]
    return CrowdPoseMetrics(
        AP=mean_precision(precision),
        AP50=mean_precision(precision[_AT_50]),
        AP75=mean_precision(precision[_AT_75]),
        AR=mean_precision(recall),
        AR50=mean_precision(recall[_AT_50]),
        AR75=mean_precision(recall[_AT_75]),
        AP_easy=easy,
        AP_medium=medium,
        AP_hard=hard,
    )


def _split_precision(table: MatchTable, protocol: Protocol) -> float:
    """Plain mean of the precision array, -1 entries included, rounded: the CrowdPose tool's habit."""
    return round(float(np.mean(accumulate(table, protocol, area_ranges=1).precision)), 4)
