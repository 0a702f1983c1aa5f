"""Compact matches: all that the numbers need to know about an image, mergeable over workers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from posrefine.metrics.matching import assign, rank_detections
from posrefine.metrics.oks_rules import OksRules
from posrefine.metrics.per_image import PerImage
from posrefine.metrics.persons import Detections, GroundTruth

__all__ = ["MatchTable", "match_images"]


@dataclass(frozen=True)
class MatchTable(PerImage):
    """Matches of I images with D ranked detections, for A area ranges; 20 bytes a detection, 24 an image.

    Attributes:
        num_thresholds: T, OKS thresholds.
        positives: [I, A] int32, persons to be found.
        scores: [D] float64, descending within each image.
        matched: [D, A] uint16, bit t set where the detection took a person at threshold t.
        ignored: [D, A] uint16, bit t set where it counts neither as right nor as wrong.
    """

    image_columns: ClassVar[tuple[str, ...]] = (*PerImage.image_columns, "positives")
    detection_columns: ClassVar[tuple[str, ...]] = ("scores", "matched", "ignored")

    num_thresholds: int
    positives: NDArray[np.int32]
    scores: NDArray[np.float64]
    matched: NDArray[np.uint16]
    ignored: NDArray[np.uint16]


def match_images(truth: GroundTruth, detections: Detections, rules: OksRules) -> MatchTable:
    """Match the detections of all images of `truth`; detections of other images are left out.

    Ids of persons matter for one thing: the reference tools store the id of the person that a detection took
    and read 0 as "none", so a detection that takes the person with id 0 is wrong, here as there.
    """
    ranked = rank_detections(detections, truth.image_ids, rules.max_detections)
    ignored = _ignored_by_area(truth, rules)
    assignment = assign(truth, ranked, ignored, rules.oks_thresholds, rules.sigmas)
    found = assignment.person >= 0
    matched, took_ignored = np.zeros_like(found), np.zeros_like(found)
    rule = np.nonzero(found)[1]
    took_ignored[found] = ignored[rule, assignment.person[found]]
    matched[found] = truth.person_ids[assignment.person[found]] != 0
    other_size = _of_other_size(ranked, rules)
    images = len(truth.image_ids)
    positives = [np.bincount(truth.person_image[~row], minlength=images) for row in ignored]
    position = np.searchsorted(truth.image_ids, ranked.image_ids)
    return MatchTable(
        num_thresholds=len(rules.oks_thresholds),
        image_ids=truth.image_ids,
        positives=np.stack(positives, axis=1).astype(np.int32),
        detections_per_image=np.bincount(position, minlength=images).astype(np.int32),
        scores=ranked.scores,
        matched=_pack(matched),
        ignored=_pack(took_ignored | (~matched & other_size[:, :, None])),
    )


def _ignored_by_area(truth: GroundTruth, rules: OksRules) -> NDArray[np.bool_]:
    """[A, G] persons that do not count in each area range: ignored ones and those of another size."""
    ranges = rules.area_ranges
    outside = [(truth.areas < span.low_px2) | (truth.areas > span.high_px2) for span in ranges]
    return np.stack(outside) | truth.ignored


def _of_other_size(ranked: Detections, rules: OksRules) -> NDArray[np.bool_]:
    """[D, A] whether the box around all joints of the detection is outside the area range."""
    extent = np.ptp(ranked.keypoints, axis=1)
    area = extent[:, 0] * extent[:, 1]
    return np.stack([(area < span.low_px2) | (area > span.high_px2) for span in rules.area_ranges], axis=1)


def _pack(flags: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """[..., T] flags as bits of one number."""
    packed = np.zeros(flags.shape[:-1], np.uint16)
    for bit in range(flags.shape[-1]):
        packed |= flags[..., bit].astype(np.uint16) << np.uint16(bit)
    return packed
