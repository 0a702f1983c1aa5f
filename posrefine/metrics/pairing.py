"""Which persons of two annotations of an image are the same: by OKS, neither being the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posrefine.metrics.oks import joint_similarity

__all__ = ["BOX_AREA_SHARE", "PairedPersons", "areas_px2", "pair_persons"]

BOX_AREA_SHARE = 0.53
"""Of the box around a person's joints that stands for the person's area, as in CrowdPose."""


@dataclass(frozen=True)
class PairedPersons:
    """The persons that both annotations have.

    Attributes:
        one: [P] int64, rows of the one's persons.
        other: [P] int64, rows of the other's.
        joint_oks: [P, K] float64, similarity of each joint, 0..1.
        areas_px2: [P] float64, of the persons.
    """

    one: NDArray[np.int64]
    other: NDArray[np.int64]
    joint_oks: NDArray[np.float64]
    areas_px2: NDArray[np.float64]

    @property
    def oks(self) -> NDArray[np.float64]:
        """[P] of each pair: the mean over its joints."""
        return self.joint_oks.mean(axis=1) if len(self.one) else np.zeros(0)


def pair_persons(
    one: NDArray[np.floating], other: NDArray[np.floating], sigmas: NDArray[np.float64], least_oks: float
) -> PairedPersons:
    """Pair persons, each with one at most, the most similar first.

    A pair's area is the geometric mean of what the two boxes say, so that the answer is the same whichever of
    the two comes first.

    Args:
        one: [N, K, 2] keypoints, image px.
        other: [M, K, 2] likewise.
        sigmas: [K].
        least_oks: below it two persons are not the same.
    """
    first = np.repeat(np.arange(len(one)), len(other))
    second = np.tile(np.arange(len(other)), len(one))
    area_one, area_other = areas_px2(one), areas_px2(other)
    areas = np.sqrt(area_one[first] * area_other[second])
    offsets = one[first].astype(np.float64) - other[second]
    similarity = joint_similarity(offsets, areas, sigmas)
    oks = similarity.mean(axis=1) if len(first) else np.zeros(0)
    free_one, free_other = np.ones(len(one), bool), np.ones(len(other), bool)
    taken: list[int] = []
    for pair in np.argsort(-oks, kind="stable").tolist():
        if oks[pair] < least_oks:
            break
        if free_one[first[pair]] and free_other[second[pair]]:
            free_one[first[pair]] = free_other[second[pair]] = False
            taken.append(pair)
    chosen = np.array(taken, np.int64)
    return PairedPersons(first[chosen], second[chosen], similarity[chosen], areas[chosen])


def areas_px2(keypoints: NDArray[np.floating]) -> NDArray[np.float64]:
    """[N] of the persons of [N, K, 2] keypoints, at least 1."""
    if not len(keypoints):
        return np.zeros(0)
    sides = np.ptp(keypoints.astype(np.float64), axis=1)
    areas: NDArray[np.float64] = np.maximum(BOX_AREA_SHARE * sides[:, 0] * sides[:, 1], 1.0)
    return areas
