"""Which images a person should look at."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.ground_truth import Annotations
from pipeline.report.quality import JudgedImage, judged_images
from pipeline.run_rows import RunRows
from pipeline.schema import ImageResult
from pipeline.storage import Storage
from posrefine.inference.poses import Poses
from posrefine.metrics import Protocol

__all__ = ["Group", "Pick", "Survey", "disagreement", "drawn_from_score", "survey_run"]

_SAMPLE_IMAGES = 20_000
_SCORE_BINS = 20
_MOST_PERSONS = 10
_DRAWN_SHARE = 0.25
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
        scores: [20] persons by score, in bins of equal width over 0..1.
        persons: [11] images by number of persons, the last for 10 and more.
    """

    images: int
    groups: tuple[Group, ...]
    scores: tuple[int, ...]
    persons: tuple[int, ...]


def survey_run(
    rows: RunRows, storage: Storage, annotations: Annotations | None, protocol: Protocol | None, *, size: int
) -> Survey:
    """Go through at most about 20,000 images and pick `size` for each group.

    With ground truth: best, worst, most disagreeing. Without: random, least sure, most disagreeing.
    """
    tally = _Tally(size)
    images = tally.watch(rows.sample(_SAMPLE_IMAGES).images(storage))
    if annotations is None or protocol is None:
        groups = _without_truth(images, size)
    else:
        groups = _with_truth(images, annotations, protocol, size)
    return tally.survey((*groups, tally.disagreeing()))


def drawn_from_score(poses: Poses) -> float:
    """The score from which persons are drawn, a quarter of the best: doubtful ones would hide the rest.

    Scores may be below 0 (heat is not bounded); the best person is always drawn.
    """
    if not len(poses):
        return 0.0
    best = float(poses.scores.max())
    return best - (1 - _DRAWN_SHARE) * abs(best)


def disagreement(poses: Poses) -> tuple[float, float] | None:
    """How far the test-time views of the most disputed sure person are apart.

    Returns:
        The mean over its joints, image px, and the same as a share of the person's size (root of the box's
        area); None where there was one view only, or nobody.
    """
    spread_px = poses.spread_px.mean(axis=1)
    boxes = poses.boxes_xywh
    size_px = np.sqrt(np.maximum(boxes[:, 2] * boxes[:, 3], 1.0))
    sure = np.isfinite(spread_px) & (poses.scores >= drawn_from_score(poses))
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

    def __init__(self, size: int) -> None:
        self._images = 0
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
        bins = np.clip((poses.scores * _SCORE_BINS).astype(int), 0, _SCORE_BINS - 1)
        self._scores += np.bincount(bins, minlength=_SCORE_BINS)
        self._persons[min(len(poses), _MOST_PERSONS)] += 1
        found = disagreement(poses)
        if found is not None:
            self._disputed.add((found[1],), image)

    def disagreeing(self) -> Group:
        picks = []
        for image in self._disputed.items():
            found = disagreement(image.poses) if image.poses is not None else None
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
            persons=tuple(self._persons[number] for number in range(_MOST_PERSONS + 1)),
        )


def _with_truth(
    images: Iterable[ImageResult], annotations: Annotations, protocol: Protocol, size: int
) -> tuple[Group, ...]:
    best: _Top[JudgedImage] = _Top(size)
    worst: _Top[JudgedImage] = _Top(size)
    for judged in judged_images(images, annotations, protocol):
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


def _without_truth(images: Iterable[ImageResult], size: int) -> tuple[Group, ...]:
    rng = np.random.default_rng(_SEED)
    random: _Top[ImageResult] = _Top(size)
    unsure: _Top[ImageResult] = _Top(size)
    for image in images:
        if image.poses is None:
            continue
        random.add((float(rng.random()),), image)
        if len(image.poses):
            unsure.add((-float(image.poses.scores.max()),), image)
    return (
        Group(
            "Drawn at random",
            "What the annotation looks like on the whole.",
            tuple(Pick(image, _people(image)) for image in random.items()),
        ),
        Group(
            "Least sure",
            "Somebody was found, but the best score of the image is the lowest of all.",
            tuple(Pick(image, f"best score {_best(image):.2f}") for image in unsure.items()),
        ),
    )


def _people(image: ImageResult) -> str:
    if image.poses is None or not len(image.poses):
        return "nobody found"
    return f"{len(image.poses)} found, best score {_best(image):.2f}"


def _best(image: ImageResult) -> float:
    return float(image.poses.scores.max()) if image.poses is not None and len(image.poses) else 0.0
