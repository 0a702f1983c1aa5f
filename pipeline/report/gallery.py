"""Which images a person should look at."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.benchmark import Benchmark
from pipeline.output.schema import ImageResult
from pipeline.report.quality import JudgedImage, judged_images
from posrefine.poses import Poses

__all__ = ["PERSON_BINS", "Group", "Pick", "Survey", "disagreement", "survey_images"]

_SCORE_BINS = 20
_PERSON_BINS_FROM = (0, 1, 2, 3, 4, 5, 10, 20, 40)
PERSON_BINS = ("0", "1", "2", "3", "4", "5–9", "10–19", "20–39", "40+")
"""Numbers of persons in an image that are counted together: few people one by one, crowds by size."""
_SEED = 0

Item = TypeVar("Item")


@dataclass(frozen=True)
class Pick:
    """An image of the gallery.

    Attributes:
        image: its row in the run; its poses are there.
        reason: why it was picked, in a few words.
        truth: its annotated persons; None where there is no ground truth.
        rings: whether the disagreement of the test-time views is drawn.
    """

    image: ImageResult
    reason: str
    truth: JudgedImage | None = None
    rings: bool = False


@dataclass(frozen=True)
class Group:
    """Images that were picked for one reason."""

    title: str
    explanation: str
    picks: tuple[Pick, ...]


@dataclass(frozen=True)
class Survey:
    """What going through a run's images, or a sample of them, found.

    Attributes:
        images: that were gone through.
        groups: of the gallery, empty ones left out.
        scores: [20] persons from the least score on by score, in bins of equal width over 0..1.
        persons: [9] images by number of these persons, in `PERSON_BINS`.
    """

    images: int
    groups: tuple[Group, ...]
    scores: tuple[int, ...]
    persons: tuple[int, ...]


def survey_images(
    sample: Iterable[ImageResult],
    benchmark: Benchmark | None,
    *,
    size: int,
    min_score: float,
) -> Survey:
    """Go through images of a run and pick `size` for each group.

    Persons below `min_score` are no reason to pick an image, and are not counted.

    With ground truth: best, worst, most disagreeing. Without: random, least sure, most disagreeing.
    """
    tally = _Tally(size, min_score)
    images = tally.watch(sample)
    if benchmark is None:
        groups = _without_truth(images, size, min_score)
    else:
        groups = _with_truth(images, benchmark, size)
    return tally.survey((*groups, tally.disagreeing()))


def disagreement(poses: Poses, min_score: float) -> tuple[float, float] | None:
    """How far the test-time views of the most disputed person are apart.

    Args:
        poses: of an image.
        min_score: persons below it are passed over.

    Returns:
        The mean over its joints, image px, and the same as a share of the person's size (root of the box's
        area); None where there was one view only, or nobody.
    """
    spread_px = poses.spread_px.mean(axis=1)
    boxes = poses.boxes_xywh
    size_px = np.sqrt(np.maximum(boxes[:, 2] * boxes[:, 3], 1.0))
    sure = np.isfinite(spread_px) & (poses.scores >= min_score)
    if not sure.any():
        return None
    share: NDArray[np.float32] = np.where(sure, spread_px / size_px, -1.0)
    worst = int(share.argmax())
    return float(spread_px[worst]), float(share[worst])


class _Top(Generic[Item]):
    """The `size` items with the largest keys, in descending order; of equal ones the first."""

    def __init__(self, size: int) -> None:
        self._size, self._heap = size, list[tuple[tuple[float, ...], int, Item]]()
        self._order = count(0, -1)

    def add(self, key: tuple[float, ...], item: Item) -> None:
        entry = (key, next(self._order), item)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, entry)
        elif self._heap and entry > self._heap[0]:
            heapq.heapreplace(self._heap, entry)

    def items(self) -> list[Item]:
        return [item for _, _, item in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


class _Tally:
    """Counts images that pass by, and keeps the most disputed ones."""

    def __init__(self, size: int, min_score: float) -> None:
        self._images, self._min_score = 0, min_score
        self._scores = np.zeros(_SCORE_BINS, np.int64)
        self._persons: Counter[int] = Counter()
        self._disputed: _Top[ImageResult] = _Top(size)

    def watch(self, images: Iterable[ImageResult]) -> Iterator[ImageResult]:
        for image in images:
            self._images += 1
            if image.poses is not None:
                self._count(image, image.poses)
            yield image

    def _count(self, image: ImageResult, poses: Poses) -> None:
        scores = poses.scores[poses.scores >= self._min_score]
        bins = np.clip((scores * _SCORE_BINS).astype(int), 0, _SCORE_BINS - 1)
        self._scores += np.bincount(bins, minlength=_SCORE_BINS)
        self._persons[bisect_right(_PERSON_BINS_FROM, len(scores)) - 1] += 1
        found = disagreement(poses, self._min_score)
        if found is not None:
            self._disputed.add((found[1],), image)

    def disagreeing(self) -> Group:
        picks = []
        for image in self._disputed.items():
            found = disagreement(image.poses, self._min_score) if image.poses is not None else None
            if found is not None:
                reason = f"views {found[0]:.1f} px apart on average, {found[1]:.1%} of the person's size"
                picks.append(Pick(image, reason, rings=True))
        return Group(
            "Test-time views disagree most",
            "Each ring is as wide as the straight, mirrored and scaled views of a joint lie apart. "
            "These are the images to check or to label first.",
            tuple(picks),
        )

    def survey(self, groups: Iterable[Group]) -> Survey:
        return Survey(
            images=self._images,
            groups=tuple(group for group in groups if group.picks),
            scores=tuple(self._scores.tolist()),
            persons=tuple(self._persons[place] for place in range(len(PERSON_BINS))),
        )


def _with_truth(images: Iterable[ImageResult], benchmark: Benchmark, size: int) -> tuple[Group, ...]:
    best: _Top[JudgedImage] = _Top(size)
    worst: _Top[JudgedImage] = _Top(size)
    for judged in judged_images(images, benchmark.annotations, benchmark.rules):
        # Among about equal ones those with more people are the harder, and say more.
        best.add((round(judged.mean_oks, 2), judged.persons), judged)
        worst.add((-round(judged.mean_oks, 2), judged.persons), judged)
    return (
        Group(
            "Worst images",
            "Lowest mean OKS over the annotated persons; a person nobody found counts 0. "
            "White skeletons are the ground truth.",
            tuple(_judged_pick(judged) for judged in worst.items()),
        ),
        Group(
            "Best images",
            "Highest mean OKS over the annotated persons. White skeletons are the ground truth.",
            tuple(_judged_pick(judged) for judged in best.items()),
        ),
    )


def _judged_pick(judged: JudgedImage) -> Pick:
    people = "1 person" if judged.persons == 1 else f"{judged.persons} persons"
    return Pick(judged.image, f"mean OKS {judged.mean_oks:.2f}, {people} annotated", truth=judged)


def _without_truth(images: Iterable[ImageResult], size: int, min_score: float) -> tuple[Group, ...]:
    rng = np.random.default_rng(_SEED)
    random: _Top[ImageResult] = _Top(size)
    unsure: _Top[ImageResult] = _Top(size)
    for image in images:
        if image.poses is None:
            continue
        random.add((float(rng.random()),), image)
        if _best(image) >= min_score:
            unsure.add((-float(image.poses.scores.max()),), image)
    return (
        Group(
            "Drawn at random",
            "What the annotation looks like on the whole.",
            tuple(Pick(image, _people(image, min_score)) for image in random.items()),
        ),
        Group(
            "Least sure",
            "Somebody was found, but the best score of the image is the lowest of all.",
            tuple(Pick(image, f"best score {_best(image):.2f}") for image in unsure.items()),
        ),
    )


def _people(image: ImageResult, min_score: float) -> str:
    if image.poses is None or not len(image.poses):
        return "nobody found"
    found = int((image.poses.scores >= min_score).sum())
    return f"{found} found from score {min_score:g} on, best score {_best(image):.2f}"


def _best(image: ImageResult) -> float:
    return float(image.poses.scores.max()) if image.poses is not None and len(image.poses) else -math.inf
