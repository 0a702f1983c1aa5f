"""Whether an image came back exactly as it was given out: then nobody knows whether anybody looked at it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.review.labels import ReviewedPerson
from posrefine.poses import Poses

__all__ = ["GIVEN", "REVIEWED", "came_as_given", "given_of", "is_as_given"]

GIVEN = "given"
"""What tools keep of each pre-label, to know it again: `given_of`."""

REVIEWED = "reviewed"
"""The mark by which a reviewer says to have looked at an image: a box to tick in CVAT, a tag in FiftyOne."""

_VISIBLE = 2
_SAME = 0.05
"""Sums that differ by less are of the same joints: tools keep two decimals, and these are summed as they are
written."""
_SAME_PX = 0.02
"""So far apart the network's joint and a rounded one may be."""


def given_of(keypoints: NDArray[np.floating], labelled: NDArray[np.bool_]) -> str:
    """How many joints are labelled, and the sums of their columns and rows, each times its joint's number.

    Short enough for an attribute in a tool, and another one whenever a joint is moved, removed or swapped.

    Args:
        keypoints: [K, 2], image px, as they are written for the tool.
        labelled: [K].
    """
    weights = np.arange(1, len(labelled) + 1)[labelled]
    x, y = (weights[:, None] * keypoints[labelled].astype(np.float64)).sum(axis=0)
    return f"{labelled.sum()} {x:.2f} {y:.2f}"


def is_as_given(
    persons: Sequence[ReviewedPerson],
    pre_labels: int,
    found: Poses,
    same: Sequence[int | None],
    size: tuple[int, int],
) -> bool:
    """Whether an image's persons are those that its task showed, each joint where it was and visible.

    Args:
        persons: of the answer.
        pre_labels: how many the task had.
        found: the network's persons that it had.
        same: which of them each person is, or None; asked where the tool lost what it was given.
        size: width and height of the image, px.
    """
    inside = np.asarray(((found.keypoints >= 0) & (found.keypoints <= size)).all(axis=2), bool)
    return len(persons) == pre_labels and all(
        came_as_given(person)
        if person.given is not None
        else row is not None and _is_as_found(person, found.keypoints[row], inside[row])
        for person, row in zip(persons, same, strict=True)
    )


def came_as_given(person: ReviewedPerson) -> bool:
    """Whether a person is what its tool says was given, joint by joint; False where it does not say."""
    labelled = person.visibility > 0
    now, before = (
        [float(number) for number in text.split()]
        for text in (given_of(person.keypoints, labelled), _numbers(person.given))
    )
    return (
        (person.visibility[labelled] == _VISIBLE).all()
        and len(now) == len(before)
        and now[0] == before[0]
        and math.dist(now[1:], before[1:]) < _SAME
    )


def _numbers(given: str | None) -> str:
    """What a file says was given, if it is that still."""
    try:
        [float(number) for number in (given or "").split()]
    except ValueError:
        return ""
    return given or ""


def _is_as_found(person: ReviewedPerson, keypoints: NDArray[np.float32], inside: NDArray[np.bool_]) -> bool:
    """As it is shown where nothing else was asked for: each joint inside of the frame, and visible."""
    px = np.abs(person.keypoints - keypoints).max(axis=1)
    return bool((person.visibility == np.where(inside, _VISIBLE, 0)).all() and (px[inside] < _SAME_PX).all())
