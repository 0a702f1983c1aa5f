"""Which person of a reviewer is which of the network's: by the number that came back, else by OKS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posrefine.metrics.oks import joint_similarity
from posrefine.metrics.pairing import BOX_AREA_SHARE

__all__ = ["LEAST_OKS", "OksMatrix", "box_areas_px2", "oks_matrix", "same_persons"]

LEAST_OKS = 0.1
"""Below it two persons are not the same one: who was moved so far was removed, and another one added."""


@dataclass(frozen=True)
class OksMatrix:
    """OKS between each of N persons and each of M labelled ones.

    Attributes:
        joint_oks: [N, M, K] float64, similarity of each joint, 0..1; NaN where it is not labelled.
        oks: [N, M] float64, the mean over labelled joints; 0 where there are none.
    """

    joint_oks: NDArray[np.float64]
    oks: NDArray[np.float64]


def box_areas_px2(boxes_xywh: NDArray[np.floating]) -> NDArray[np.float64]:
    """[N] float64, what stands for the area of persons with these boxes, [N, 4]; at least 1."""
    sides = boxes_xywh[:, 2:].astype(np.float64)
    return np.asarray(np.maximum(BOX_AREA_SHARE * sides[:, 0] * sides[:, 1], 1.0))


def oks_matrix(
    found: NDArray[np.floating],
    keypoints: NDArray[np.floating],
    visibility: NDArray[np.int8],
    boxes_xywh: NDArray[np.floating],
    sigmas: Sequence[float],
    found_visibility: NDArray[np.int8] | None = None,
) -> OksMatrix:
    """Of persons and labelled ones of one image.

    Args:
        found: [N, K, 2], image px.
        keypoints: [M, K, 2], image px.
        visibility: [M, K], COCO's.
        boxes_xywh: [M, 4], image px: these persons' sizes are what distances are measured by.
        sigmas: [K].
        found_visibility: [N, K] of the N persons; None where all their joints count.
    """
    persons, labelled, joints = len(found), len(keypoints), len(sigmas)
    offsets = (found[:, None].astype(np.float64) - keypoints[None]).reshape(-1, joints, 2)
    areas = np.tile(box_areas_px2(boxes_xywh), persons)
    similar = joint_similarity(offsets, areas, np.array(sigmas)).reshape(persons, labelled, joints)
    known = np.broadcast_to(visibility > 0, similar.shape)
    if found_visibility is not None:
        known = known & (found_visibility > 0)[:, None]
    count = known.sum(axis=2)
    oks = np.where(known, similar, 0.0).sum(axis=2) / np.maximum(count, 1)
    return OksMatrix(np.where(known, similar, np.nan), oks)


def same_persons(
    oks: NDArray[np.float64], stated: Sequence[int | None] = (), least_oks: float = LEAST_OKS
) -> list[int | None]:
    """Which of N persons each of M is, each with one at most: those stated first, then the most similar.

    Args:
        oks: [N, M].
        stated: [M] which one a person was made from, where that is known; empty where nothing is.
        least_oks: below it nobody is the same, whatever is stated.
    """
    persons, labelled = oks.shape
    same: list[int | None] = [None] * labelled
    made_from = np.zeros(oks.shape, bool)
    for column, row in enumerate(stated):
        if row is not None and 0 <= row < persons:
            made_from[row, column] = True
    free = np.ones(persons, bool)
    # Stated ones are before all others; of two made from one the more similar is it.
    for pair in np.argsort(-(oks + 2 * made_from), axis=None, kind="stable").tolist():
        row, column = divmod(pair, labelled)
        if free[row] and same[column] is None and oks[row, column] >= least_oks:
            free[row], same[column] = False, row
    return same
