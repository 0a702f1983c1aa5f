"""Compact matches: all that average precision needs to know about an image, mergeable over workers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posrefine.metrics.matching import Assignment, assign, rank_detections
from posrefine.metrics.persons import Detections, GroundTruth, ranges_to_indices
from posrefine.metrics.protocol import Protocol

__all__ = ["MatchTable", "ignored_by_area", "match_images", "table_of"]


@dataclass(frozen=True)
class MatchTable:
    """Matches of I images with D ranked detections, for A area ranges; 20 bytes a detection and 24 an image.

    Attributes:
        image_ids: [I] int64, ascending, each once.
        positives: [I, A] int32, persons to be found.
        detections_per_image: [I] int32.
        scores: [D] float64, image by image, descending within each.
        matched: [D, A] uint16, bit t set where the detection took a person at threshold t.
        ignored: [D, A] uint16, bit t set where it counts neither as right nor as wrong.
        duplicates: images that merging found in more than one table and counted once.
    """

    image_ids: NDArray[np.int64]
    positives: NDArray[np.int32]
    detections_per_image: NDArray[np.int32]
    scores: NDArray[np.float64]
    matched: NDArray[np.uint16]
    ignored: NDArray[np.uint16]
    duplicates: int = 0

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def detection_image(self) -> NDArray[np.int64]:
        """[D] int64, position of each detection's image."""
        return np.repeat(np.arange(len(self)), self.detections_per_image)

    def select(self, images: NDArray[np.int64] | NDArray[np.bool_]) -> MatchTable:
        """The images at the given positions (or mask); the caller keeps them ascending."""
        if images.dtype == bool:
            images = np.flatnonzero(images)
        counts = self.detections_per_image.astype(np.int64)
        rows = ranges_to_indices((np.cumsum(counts) - counts)[images], counts[images])
        return MatchTable(
            image_ids=self.image_ids[images],
            positives=self.positives[images],
            detections_per_image=self.detections_per_image[images],
            scores=self.scores[rows],
            matched=self.matched[rows],
            ignored=self.ignored[rows],
            duplicates=self.duplicates,
        )

    @staticmethod
    def merge(tables: Sequence[MatchTable]) -> MatchTable:
        """One table of all images; of an image found in several tables, the earliest one's matches count."""
        if not tables:
            raise ValueError("merge: expected at least one table, got none")
        joined = MatchTable(
            image_ids=np.concatenate([table.image_ids for table in tables]),
            positives=np.concatenate([table.positives for table in tables]),
            detections_per_image=np.concatenate([table.detections_per_image for table in tables]),
            scores=np.concatenate([table.scores for table in tables]),
            matched=np.concatenate([table.matched for table in tables]),
            ignored=np.concatenate([table.ignored for table in tables]),
            duplicates=sum(table.duplicates for table in tables),
        )
        unique_ids, first = np.unique(joined.image_ids, return_index=True)
        repeated = len(joined) - len(unique_ids)
        merged = joined.select(first)
        return MatchTable(**{**vars(merged), "duplicates": joined.duplicates + repeated})


def ignored_by_area(truth: GroundTruth, protocol: Protocol) -> NDArray[np.bool_]:
    """[A, G] persons that do not count in each area range: ignored ones and those of another size."""
    outside = [(truth.areas < span.low_px2) | (truth.areas > span.high_px2) for span in protocol.area_ranges]
    return np.array(outside).reshape(len(outside), -1) | truth.ignored


def match_images(truth: GroundTruth, detections: Detections, protocol: Protocol) -> MatchTable:
    """Match the detections of all images of `truth`; detections of other images are left out."""
    ranked = rank_detections(detections, truth.image_ids, protocol.max_detections)
    ignored = ignored_by_area(truth, protocol)
    assignment = assign(truth, ranked, ignored, protocol.oks_thresholds, protocol.sigmas)
    return table_of(truth, ranked, assignment, ignored, protocol)


def table_of(
    truth: GroundTruth,
    ranked: Detections,
    assignment: Assignment,
    ignored: NDArray[np.bool_],
    protocol: Protocol,
) -> MatchTable:
    """Pack an assignment; `ranked`, `ignored` [A, G] and it belong together as in `match_images`."""
    found = assignment.person >= 0
    matched, took_ignored = found.copy(), np.zeros_like(found)
    if found.any():
        row, rule, threshold = np.nonzero(found)
        person = assignment.person[found]
        took_ignored[row, rule, threshold] = ignored[rule, person]
        # The reference stores the id of the person taken and reads 0 as "none".
        matched[row, rule, threshold] = truth.person_ids[person] != 0
    other_size = _detections_of_other_size(ranked, protocol)
    position = np.searchsorted(truth.image_ids, ranked.image_ids)
    images = len(truth.image_ids)
    positives = [np.bincount(truth.person_image[~row], minlength=images) for row in ignored]
    return MatchTable(
        image_ids=truth.image_ids,
        positives=np.stack(positives, axis=1).astype(np.int32),
        detections_per_image=np.bincount(position, minlength=images).astype(np.int32),
        scores=ranked.scores,
        matched=_pack(matched),
        ignored=_pack(took_ignored | (~matched & other_size[:, :, None])),
    )


def _detections_of_other_size(ranked: Detections, protocol: Protocol) -> NDArray[np.bool_]:
    """[D, A] whether the box around all joints of the detection is outside the area range."""
    if len(ranked) == 0:
        return np.zeros((0, len(protocol.area_ranges)), bool)
    extent = ranked.keypoints.max(axis=1) - ranked.keypoints.min(axis=1)
    area = extent[:, 0] * extent[:, 1]
    return np.stack([(area < span.low_px2) | (area > span.high_px2) for span in protocol.area_ranges], axis=1)


def _pack(flags: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """[..., T] flags as bits of one number."""
    packed = np.zeros(flags.shape[:-1], np.uint16)
    for bit in range(flags.shape[-1]):
        packed |= flags[..., bit].astype(np.uint16) << np.uint16(bit)
    return packed
