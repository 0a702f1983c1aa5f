"""Errors of each keypoint of the persons that were found, by kind (after Ronchi & Perona, ICCV 2017)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from posrefine.metrics.matching import assign, rank_detections
from posrefine.metrics.oks import joint_similarity
from posrefine.metrics.oks_rules import OksRules
from posrefine.metrics.per_image import PerImage
from posrefine.metrics.persons import Detections, GroundTruth, ranges_to_indices

__all__ = ["ErrorTable", "JointVerdict", "judge_joints"]

_LEAST_OKS = 0.1
"""A detection with less than this in common with every person has found none."""
_GOOD, _NEAR = 0.85, 0.5
"""Joint similarity from which a joint is right, and from which it is at least near."""
_PAIRS_PER_BATCH = 20_000


class JointVerdict(IntEnum):
    """Kind of error of one labelled keypoint of a person that was found."""

    GOOD = 0
    JITTER = 1
    """Near the joint, not on it."""
    SWAPPED_SIDES = 2
    """On the same person's mirror joint."""
    OTHER_PERSON = 3
    """On that joint, or its mirror joint, of another person."""
    MISSED = 4
    """Near none of these."""


@dataclass(frozen=True)
class ErrorTable(PerImage):
    """Verdicts on joints per image, and the OKS of every detection.

    Attributes:
        verdicts: [I, K, 5] uint8, labelled joints of found persons by `JointVerdict`.
        scores: [D] float32.
        oks: [D] float32, with the person that the detection took, 0 where it took none, NaN where it counts
            neither way (crowds, persons without joints).
    """

    image_columns: ClassVar[tuple[str, ...]] = (*PerImage.image_columns, "verdicts")
    detection_columns: ClassVar[tuple[str, ...]] = ("scores", "oks")

    verdicts: NDArray[np.uint8]
    scores: NDArray[np.float32]
    oks: NDArray[np.float32]


def judge_joints(truth: GroundTruth, detections: Detections, rules: OksRules) -> ErrorTable:
    """Assign detections at a low bar of OKS 0.1 and judge every labelled joint of the persons they took."""
    ranked = rank_detections(detections, truth.image_ids, rules.max_detections)
    assignment = assign(truth, ranked, truth.ignored[None], np.array([_LEAST_OKS]), rules.sigmas)
    person, oks = assignment.person[:, 0, 0], assignment.oks[:, 0, 0]
    taken = np.flatnonzero(person >= 0)
    regular = taken[~truth.ignored[person[taken]]]
    images, joints = len(truth.image_ids), rules.skeleton.num_joints
    counts = np.zeros((images, joints, len(JointVerdict)), np.uint8)
    for start in range(0, len(regular), _PAIRS_PER_BATCH):
        rows = regular[start : start + _PAIRS_PER_BATCH]
        verdicts = _verdicts(truth, ranked.keypoints[rows], person[rows], rules)
        pair, joint = np.nonzero(truth.labelled[person[rows]])
        np.add.at(counts, (truth.person_image[person[rows][pair]], joint, verdicts[pair, joint]), 1)
    position = np.searchsorted(truth.image_ids, ranked.image_ids)
    neither = (person >= 0) & ~np.isin(np.arange(len(person)), regular)
    return ErrorTable(
        image_ids=truth.image_ids,
        detections_per_image=np.bincount(position, minlength=images).astype(np.int32),
        verdicts=counts,
        scores=ranked.scores.astype(np.float32),
        oks=np.where(neither, np.nan, oks).astype(np.float32),
    )


def _verdicts(
    truth: GroundTruth, found: NDArray[np.float64], person: NDArray[np.int64], rules: OksRules
) -> NDArray[np.int64]:
    """[P, K] verdicts on the joints [P, K, 2] of detections that took the persons [P]."""
    mirrored = list(rules.skeleton.flip_order)
    own = _similarity(truth, found, person, rules, None)
    swapped = _similarity(truth, found, person, rules, mirrored)
    swapped[:, np.array(mirrored) == np.arange(len(mirrored))] = 0.0
    pair, other = _others_in_image(truth, person)
    strangers = np.zeros_like(own)
    for order in (None, mirrored):
        np.maximum.at(strangers, pair, _similarity(truth, found[pair], other, rules, order))
    conditions = [own >= _GOOD, own >= _NEAR, swapped >= _NEAR, strangers >= _NEAR]
    choices = [
        JointVerdict.GOOD,
        JointVerdict.JITTER,
        JointVerdict.SWAPPED_SIDES,
        JointVerdict.OTHER_PERSON,
    ]
    return np.select(conditions, [int(choice) for choice in choices], int(JointVerdict.MISSED))


def _similarity(
    truth: GroundTruth,
    found: NDArray[np.float64],
    person: NDArray[np.int64],
    rules: OksRules,
    order: list[int] | None,
) -> NDArray[np.float64]:
    """[P, K] similarity of found joints to those of the persons, in another order if given; 0 if blank."""
    keypoints, labelled = truth.keypoints[person], truth.labelled[person]
    if order is not None:
        keypoints, labelled = keypoints[:, order], labelled[:, order]
    return np.where(labelled, joint_similarity(found - keypoints, truth.areas[person], rules.sigmas), 0.0)


def _others_in_image(
    truth: GroundTruth, person: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All (position in `person`, other person of the same image)."""
    counts = truth.persons_per_image
    starts = np.cumsum(counts) - counts
    image = truth.person_image[person]
    pair = np.repeat(np.arange(len(person)), counts[image])
    other = ranges_to_indices(starts[image], counts[image])
    different = other != person[pair]
    return pair[different], other[different]
