"""Greedy assignment of detections to annotated persons, for many images at once.

The rule is pycocotools' (`COCOeval.evaluateImg`): in each image the detections choose in descending order of
score; each takes the person of highest OKS among those still free, not ignored and at or above the threshold;
failing that, an ignored one; of equals, the last in the file. Crowds can be taken any number of times.

A detection and a person that reach the lowest threshold with each other and with nobody else have no choice;
they are most, and are assigned without one. The rule is applied to the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posrefine.metrics.oks import object_keypoint_similarity
from posrefine.metrics.persons import Detections, GroundTruth, ranges_to_indices

__all__ = ["Assignment", "assign", "rank_detections"]

_PAIRS_PER_BATCH = 100_000
"""Of a detection and a person of one image, whose OKS is computed together: about 100 MB in all."""
_CELLS_PER_BATCH = 40_000
"""Such pairs, padding included, that choose together: about 30 MB."""


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
    shape = (len(ranked), len(ignored), len(thresholds))
    person, oks = np.full(shape, -1, np.int64), np.zeros(shape)
    # An OKS of exactly 1 must pass a threshold of 1, hence the reference's cap.
    least = np.minimum(thresholds, 1 - 1e-10)
    for candidates in _candidates(truth, ranked, least.min(), sigmas):
        alone = candidates.alone()
        _take(candidates.select(alone), least, person, oks)
        for batch in _batches(candidates.select(~alone)):
            taken, taken_oks = _choose(
                batch.similarity(),
                np.moveaxis(ignored[:, batch.persons], 0, 1),
                truth.is_crowd[batch.persons],
                least,
            )
            real = batch.detections >= 0
            image = np.arange(len(taken))[:, None, None, None]
            rows = batch.detections[real]
            person[rows] = np.where(taken >= 0, batch.persons[image, taken], -1)[real]
            oks[rows] = taken_oks[real]
    return Assignment(person, oks)


@dataclass(frozen=True)
class _Pairs:
    """P pairs of a detection and a person of one image, by image, then detection, then person.

    Attributes:
        image: [P] position of the image.
        detection: [P] position among the ranked detections.
        person: [P] position among the persons.
        oks: [P].
    """

    image: NDArray[np.int64]
    detection: NDArray[np.int64]
    person: NDArray[np.int64]
    oks: NDArray[np.float64]

    def select(self, chosen: NDArray[np.bool_]) -> _Pairs:
        return _Pairs(self.image[chosen], self.detection[chosen], self.person[chosen], self.oks[chosen])

    def alone(self) -> NDArray[np.bool_]:
        """[P] whether neither the detection nor the person is in another pair."""
        only: NDArray[np.bool_] = _only_once(self.detection) & _only_once(self.person)
        return only


def _only_once(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse] == 1)


def _candidates(
    truth: GroundTruth, ranked: Detections, least: float, sigmas: NDArray[np.float64]
) -> Iterator[_Pairs]:
    """The pairs with an OKS of `least` or more, images after images."""
    images = len(truth.image_ids)
    detections = np.bincount(np.searchsorted(truth.image_ids, ranked.image_ids), minlength=images)
    persons = truth.persons_per_image
    first_detection, first_person = np.cumsum(detections) - detections, np.cumsum(persons) - persons
    pairs = detections * persons
    ends = np.cumsum(pairs)
    start = 0
    while start < images:
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _PAIRS_PER_BATCH, side="right")))
        image = np.repeat(np.arange(start, stop), pairs[start:stop])
        within = ranges_to_indices(np.zeros(stop - start, np.int64), pairs[start:stop])
        row, column = np.divmod(within, np.maximum(persons[image], 1))
        detection, person = first_detection[image] + row, first_person[image] + column
        oks = object_keypoint_similarity(
            ranked.keypoints[detection],
            truth.keypoints[person],
            truth.labelled[person],
            truth.boxes[person],
            truth.areas[person],
            sigmas,
        )
        yield _Pairs(image, detection, person, oks).select(oks >= least)
        start = stop


def _take(
    pairs: _Pairs, least: NDArray[np.float64], person: NDArray[np.int64], oks: NDArray[np.float64]
) -> None:
    """Enter pairs without a choice into [D, A, T]: ignored or not, the person is taken where OKS suffices."""
    suffices = (pairs.oks[:, None] >= least)[:, None]
    person[pairs.detection] = np.where(suffices, pairs.person[:, None, None], -1)
    oks[pairs.detection] = np.where(suffices, pairs.oks[:, None, None], 0.0)


@dataclass(frozen=True)
class _Batch:
    """N images with similar numbers of detections and persons that have a choice, padded to D and G.

    Attributes:
        detections: [N, D] positions, in descending order of score; -1 in the padding.
        persons: [N, G] positions, in the order of the file; the padding repeats one.
        cell: [P] of the flattened [N, D, G] that a pair stands at.
        oks: [P] of these pairs.
    """

    detections: NDArray[np.int64]
    persons: NDArray[np.int64]
    cell: NDArray[np.int64]
    oks: NDArray[np.float64]

    def similarity(self) -> NDArray[np.float64]:
        """[N, D, G] OKS, -1 where there is no pair."""
        shape = (*self.detections.shape, self.persons.shape[1])
        similarity = np.full(shape, -1.0)
        similarity.ravel()[self.cell] = self.oks
        return similarity


def _batches(pairs: _Pairs) -> Iterator[_Batch]:
    images = np.unique(pairs.image)
    detections, detection = np.unique(pairs.detection, return_inverse=True)
    persons, person = np.unique(pairs.person, return_inverse=True)
    _, first = np.unique(pairs.detection, return_index=True)
    image_of_detection = np.searchsorted(images, pairs.image[first])
    _, first = np.unique(pairs.person, return_index=True)
    image_of_person = np.searchsorted(images, pairs.image[first])
    image = np.searchsorted(images, pairs.image)
    of_image = [np.bincount(x, minlength=len(images)) for x in (image_of_detection, image_of_person, image)]
    first_detection, first_person, first_pair = (np.cumsum(counts) - counts for counts in of_image)
    row, column = detection - first_detection[image], person - first_person[image]
    # Images of one batch should be alike, so that padding stays small.
    order = np.lexsort(of_image[:2])
    start = 0
    while start < len(order):
        stop = _batch_end(of_image[1][order], of_image[0][order], start)
        chosen = order[start:stop]
        grid, has_detection = _grid(first_detection[chosen], of_image[0][chosen])
        padded, _ = _grid(first_person[chosen], of_image[1][chosen])
        own = ranges_to_indices(first_pair[chosen], of_image[2][chosen])
        slot = np.repeat(np.arange(len(chosen)), of_image[2][chosen])
        yield _Batch(
            detections=np.where(has_detection, detections[grid], -1),
            persons=persons[padded],
            cell=(slot * grid.shape[1] + row[own]) * padded.shape[1] + column[own],
            oks=pairs.oks[own],
        )
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


def _choose(
    similarity: NDArray[np.float64],
    ignored: NDArray[np.bool_],
    is_crowd: NDArray[np.bool_],
    least: NDArray[np.float64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The greedy rule, rank after rank of detections; all images, ignore rules and thresholds together.

    Args:
        similarity: [N, D, G], below every threshold in the padding.
        ignored: [N, A, G].
        is_crowd: [N, G].
        least: [T] OKS of a match.

    Returns:
        [N, D, A, T] column of the person taken or -1, and its OKS or 0.
    """
    images, ranks, persons = similarity.shape
    shape = (images, ignored.shape[1], len(least))
    taken, taken_oks = np.full((images, ranks, *shape[1:]), -1), np.zeros((images, ranks, *shape[1:]))
    free = np.ones((*shape, persons), bool)
    regular = ~ignored[:, :, None, :]
    for rank in range(ranks):
        oks = similarity[:, rank, None, None, :]
        open_to = (oks >= least[:, None]) & free
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
