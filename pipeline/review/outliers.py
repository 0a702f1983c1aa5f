"""What persons of a data set are like, told by a sample of them: which poses and sizes are unusual there.

Poses have no one middle: people stand, sit and lie. So a pose is unusual if no pose of the sample is like it:
by the distance to its nearest neighbour among them, without those of the sample that are lonely themselves.
Sizes are compared by median and median absolute deviation of their logarithms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.review.image_features import CountedPersons

__all__ = ["PersonSample", "TypicalPoses", "TypicalSizes"]

SAMPLED_IMAGES = 4096
"""Images whose persons are the sample."""
NEIGHBOURS = 1024
"""Poses that others are compared with."""
LEAST = 50
"""Persons without whom nobody can say what is usual."""

_LONELY = 0.05
_UNUSUAL = 0.95
_PERSONS_AT_A_TIME = 8192
_MAD_OF_NORMAL = 1.4826
_LEAST_WEIGHT = 1e-3


class PersonSample:
    """Persons of a random sample of images that pass by; which, does not depend on the order they come in."""

    def __init__(self) -> None:
        self._kept: list[tuple[NDArray[np.uint64], CountedPersons]] = []
        self._largest = np.uint64(2**64 - 1)

    def see(self, features: NDArray[Any], people: CountedPersons) -> None:
        """Look at images of `FEATURES` and their persons that count."""
        drawn = features["sample"][people.image]
        wanted = drawn <= self._largest
        if wanted.any():
            self._kept.append((drawn[wanted], people.some(wanted)))
            self._cut()

    def join(self, other: PersonSample) -> None:
        """Take in what another one has seen of other images."""
        self._kept += other._kept
        if self._kept:
            self._cut()

    def persons(self) -> CountedPersons:
        """Those of the sample, in an order of chance."""
        if not self._kept:
            nobody = np.zeros(0)
            return CountedPersons(
                np.zeros(0, np.int64), np.zeros((0, 1, 2)), np.zeros((0, 1)), nobody, nobody
            )
        drawn = np.concatenate([one for one, _ in self._kept])
        people = CountedPersons.together([one for _, one in self._kept])
        return people.some(np.argsort(drawn, kind="stable"))

    def _cut(self) -> None:
        """Let go of what is beyond the images of the sample."""
        images = np.unique(np.concatenate([one for one, _ in self._kept]))
        if len(images) <= SAMPLED_IMAGES:
            return
        self._largest = images[SAMPLED_IMAGES - 1]
        kept = [(one, one <= self._largest, people) for one, people in self._kept]
        self._kept = [(one[which], people.some(which)) for one, which, people in kept if which.any()]


@dataclass(frozen=True)
class TypicalSizes:
    """Sizes of persons, as the logarithm of the share of the image's.

    Attributes:
        middle: median.
        scale: median absolute deviation, as the standard deviation of a normal distribution.
    """

    middle: float
    scale: float

    @staticmethod
    def of(sizes: NDArray[np.float64]) -> TypicalSizes | None:
        """Of these shares, [N]; None where they are too few, or half of them are equal."""
        if len(sizes) < LEAST:
            return None
        logs = np.log(np.maximum(sizes, 1e-6))
        middle = float(np.median(logs))
        scale = _MAD_OF_NORMAL * float(np.median(np.abs(logs - middle)))
        return TypicalSizes(middle, scale) if scale > 0 else None

    def distance(self, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Robust standard deviations above the middle, below it if negative; NaN stays NaN."""
        with np.errstate(invalid="ignore"):
            return (np.log(np.maximum(sizes, 1e-6)) - self.middle) / self.scale


@dataclass(frozen=True)
class TypicalPoses:
    """Poses of a sample.

    Attributes:
        poses: [M, 2K] float64, joints around their middle in units of their spread around it.
        usual: distance that one of twenty of the sample is beyond.
    """

    poses: NDArray[np.float64]
    usual: float

    @staticmethod
    def of(sample: CountedPersons) -> TypicalPoses | None:
        """Of a sample in an order of chance; None where there are too few."""
        if len(sample.image) < LEAST:
            return None
        poses = _normalised(sample)[:NEIGHBOURS]
        weights = np.repeat(np.maximum(sample.weights[: len(poses)], _LEAST_WEIGHT), 2, axis=1)
        distances = _nearest(poses, weights, poses, apart=True)
        kept = distances <= np.quantile(distances, 1.0 - _LONELY)
        return TypicalPoses(poses[kept], float(np.quantile(distances, _UNUSUAL)))

    def distance(self, people: CountedPersons) -> NDArray[np.float64]:
        """[P] how far a joint is, on average, from where it is in the most alike pose of the sample, as a
        share of the person's spread; joints count as much as the network is sure of them."""
        found = np.zeros(len(people.image))
        for start in range(0, len(found), _PERSONS_AT_A_TIME):
            part = slice(start, start + _PERSONS_AT_A_TIME)
            some = people.some(np.arange(len(found))[part])
            weights = np.repeat(np.maximum(some.weights, _LEAST_WEIGHT), 2, axis=1)
            found[part] = _nearest(_normalised(some), weights, self.poses)
        return found


def _normalised(people: CountedPersons) -> NDArray[np.float64]:
    """[P, 2K] joints around their weighted middle, in units of their weighted spread around it."""
    weights = np.maximum(people.weights, _LEAST_WEIGHT)[:, :, np.newaxis]
    total = weights.sum(axis=1, keepdims=True)
    centred = people.keypoints - (weights * people.keypoints).sum(axis=1, keepdims=True) / total
    spread = np.sqrt((weights * centred**2).sum(axis=(1, 2), keepdims=True) / total)
    normalised: NDArray[np.float64] = centred / np.maximum(spread, 1.0)
    return normalised.reshape(len(people.image), -1)


def _nearest(
    poses: NDArray[np.float64],
    weights: NDArray[np.float64],
    others: NDArray[np.float64],
    *,
    apart: bool = False,
) -> NDArray[np.float64]:
    """[P] root mean square distance of joints to those of the nearest of `others`.

    Args:
        poses: [P, 2K].
        weights: [P, 2K] of the coordinates.
        others: [M, 2K].
        apart: whether `others` are the same poses, none of which is its own neighbour.
    """
    left = np.concatenate([weights * poses * -2.0, weights], axis=1).astype(np.float32)
    right = np.concatenate([others, others**2], axis=1).astype(np.float32)
    squared = left @ right.T
    if apart:
        np.fill_diagonal(squared, np.inf)
    # Sums of single precision tell who is nearest; how near, those of double precision.
    nearest = others[squared.argmin(axis=1)]
    whole = (weights * (poses - nearest) ** 2).sum(axis=1) / weights[:, ::2].sum(axis=1)
    distances: NDArray[np.float64] = np.sqrt(whole)
    return distances
