"""Greedy assignment of detections to annotated persons, for many images at once.

The rule is pycocotools' (`COCOeval.evaluateImg`): in each image the detections choose in descending order of
score; each takes the person of highest OKS among those still free, not ignored and at or above the threshold;
failing that, an ignored one; of equals, the last in the file. Crowds can be taken any number of times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posrefine.metrics.oks import object_keypoint_similarity
from posrefine.metrics.persons import Detections, GroundTruth, ranges_to_indices

__all__ = ["Assignment", "assign", "rank_detections"]

_CELLS_PER_BATCH = 40_000
"""Pairs of a detection and a person, padding included, handled together: about 30 MB of working memory."""


@dataclass(frozen=True)
class Assignment:
    """Which person each detection took.

    Attributes:
        person: [D, A, T] int64, position among the persons of the ground truth, -1 for none; per ignore rule
            and threshold.
        oks: [D, A, T] float64, of the detection and the person it took, 0 for none.
    """

    person: NDArray[np.int64]
    oks: NDArray[np.float64]


def rank_detections(detections: Detections, image_ids: NDArray[np.int64], limit: int) -> Detections:
    """The `limit` best detections of each image, by image, then by descending score; equals keep their order.

    Detections of images that are not in the ascending `image_ids` are left out.
    """
    position = np.searchsorted(image_ids, detections.image_ids)
    known = np.zeros(len(detections), bool)
    inside = position < len(image_ids)
    known[inside] = image_ids[position[inside]] == detections.image_ids[inside]
    order = np.flatnonzero(known)
    order = order[np.argsort(-detections.scores[order], kind="stable")]
    order = order[np.argsort(detections.image_ids[order], kind="stable")]
    counts = np.bincount(position[order], minlength=len(image_ids))
    rank = ranges_to_indices(np.zeros(len(counts), np.int64), counts)
    return detections.select(order[rank < limit])


def assign(
    truth: GroundTruth,
    ranked: Detections,
    ignored: NDArray[np.bool_],
    thresholds: NDArray[np.float64],
    sigmas: NDArray[np.float64],
) -> Assignment:
    """Let the ranked detections of every image choose their persons.

    Args:
        truth: I images, G persons.
        ranked: D detections as `rank_detections` returns them for the images of `truth`.
        ignored: [A, G], one row for each ignore rule (area range).
        thresholds: [T] least OKS of a match.
        sigmas: [K].
    """
    per_image = np.bincount(
        np.searchsorted(truth.image_ids, ranked.image_ids), minlength=len(truth.image_ids)
    )
    shape = (len(ranked), len(ignored), len(thresholds))
    person, oks = np.full(shape, -1, np.int64), np.zeros(shape)
    for batch in _batches(truth, per_image):
        similarity = _padded_similarity(truth, ranked, batch, sigmas)
        taken, taken_oks = _choose(
            similarity, _pad(ignored, batch), _pad(truth.is_crowd[None], batch)[:, 0], thresholds
        )
        rows = batch.detection_index[batch.has_detection]
        first = np.broadcast_to(batch.first_person[:, None, None, None], taken.shape)
        person[rows] = np.where(taken >= 0, first + taken, -1)[batch.has_detection]
        oks[rows] = taken_oks[batch.has_detection]
    return Assignment(person, oks)


@dataclass(frozen=True)
class _Batch:
    """N images with similar numbers of persons, padded to D detections and G persons."""

    first_person: NDArray[np.int64]
    detection_index: NDArray[np.int64]
    has_detection: NDArray[np.bool_]
    person_index: NDArray[np.int64]
    has_person: NDArray[np.bool_]


def _batches(truth: GroundTruth, detections_per_image: NDArray[np.int64]) -> Iterator[_Batch]:
    persons_per_image = truth.persons_per_image
    first_detection = np.cumsum(detections_per_image) - detections_per_image
    first_person = np.cumsum(persons_per_image) - persons_per_image
    images = np.flatnonzero((detections_per_image > 0) & (persons_per_image > 0))
    # Images of one batch should be alike, so that padding stays small.
    images = images[np.lexsort((detections_per_image[images], persons_per_image[images]))]
    start = 0
    while start < len(images):
        stop = _batch_end(persons_per_image[images], detections_per_image[images], start)
        batch = images[start:stop]
        detections, has_detection = _grid(first_detection[batch], detections_per_image[batch])
        persons, has_person = _grid(first_person[batch], persons_per_image[batch])
        yield _Batch(first_person[batch], detections, has_detection, persons, has_person)
        start = stop


def _batch_end(persons: NDArray[np.int64], detections: NDArray[np.int64], start: int) -> int:
    """Largest end for which images x most detections x most persons stays within the limit; at least one."""
    window = slice(start, start + _CELLS_PER_BATCH)
    widest = np.maximum.accumulate(detections[window]) * np.maximum.accumulate(persons[window])
    cells = widest * np.arange(1, len(widest) + 1)
    return start + max(1, int(np.searchsorted(cells, _CELLS_PER_BATCH, side="right")))


def _grid(first: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """[N, max] positions first, first + 1, … of each row, and which are real; padding repeats the first."""
    steps = np.arange(counts.max())
    real = steps < counts[:, None]
    return first[:, None] + np.where(real, steps, 0), real


def _pad(flags: NDArray[np.bool_], batch: _Batch) -> NDArray[np.bool_]:
    """[A, G] flags of persons as [N, A, G of the batch]."""
    return np.moveaxis(flags[:, batch.person_index], 0, 1)


def _padded_similarity(
    truth: GroundTruth, ranked: Detections, batch: _Batch, sigmas: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[N, D, G] OKS, -1 in the padding."""
    real = batch.has_detection[:, :, None] & batch.has_person[:, None, :]
    image, row, column = np.nonzero(real)
    detection = batch.detection_index[image, row]
    person = batch.person_index[image, column]
    similarity = np.full(real.shape, -1.0)
    similarity[real] = object_keypoint_similarity(
        ranked.keypoints[detection],
        truth.keypoints[person],
        truth.labelled[person],
        truth.boxes[person],
        truth.areas[person],
        sigmas,
    )
    return similarity


def _choose(
    similarity: NDArray[np.float64],
    ignored: NDArray[np.bool_],
    is_crowd: NDArray[np.bool_],
    thresholds: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The greedy rule, rank after rank of detections; all images, ignore rules and thresholds together.

    Args:
        similarity: [N, D, G], below every threshold in the padding.
        ignored: [N, A, G].
        is_crowd: [N, G].
        thresholds: [T].

    Returns:
        [N, D, A, T] column of the person taken or -1, and its OKS or 0.
    """
    images, ranks, persons = similarity.shape
    shape = (images, ignored.shape[1], len(thresholds))
    taken, taken_oks = np.full((images, ranks, *shape[1:]), -1), np.zeros((images, ranks, *shape[1:]))
    free = np.ones((*shape, persons), bool)
    regular = ~ignored[:, :, None, :]
    # An OKS of exactly 1 must pass a threshold of 1, hence the reference's cap.
    least = np.minimum(thresholds, 1 - 1e-10)[:, None]
    for rank in range(ranks):
        oks = similarity[:, rank, None, None, :]
        open_to = (oks >= least) & free
        preferred = open_to & regular
        open_to = np.where(preferred.any(axis=-1, keepdims=True), preferred, open_to)
        # Of equals the last one wins: search from the end.
        best = persons - 1 - np.argmax(np.where(open_to, oks, -1.0)[..., ::-1], axis=-1)
        found = open_to.any(axis=-1)
        image, rule, threshold = np.nonzero(found)
        column = best[found]
        taken[image, rank, rule, threshold] = column
        taken_oks[image, rank, rule, threshold] = similarity[image, rank, column]
        free[image, rule, threshold, column] = is_crowd[image, column]
    return taken, taken_oks
