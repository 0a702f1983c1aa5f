"""Agreement by joint, size and generation, of network and people and of people among each other: as a plain
count of the rows gives it, with intervals around it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray
from support.answers import answer
from support.corrections import models_rows
from support.queues import queue_of
from support.standing import Standing, picture

from pipeline.output.review_queue import write_queue
from pipeline.review.agreement import agreement_of
from pipeline.review.agreement_text import reviewer_agreement_lines
from pipeline.review.corrections import import_reviews
from pipeline.review.labels import ReviewedPerson
from pipeline.review.reviewer_agreement import PersonAgreement, ReviewerAgreement, Share
from pipeline.storage import Storage
from posrefine.metrics.analysis.ratio import Estimate
from posrefine.poses import Poses
from posrefine.skeletons import COCO

IMAGES = {f"{generation}-{number}.png": generation for generation in (1, 2) for number in range(5)}
CONTROL = [key for key in IMAGES if key[2] in "01"]
SIDES_PX = {"small": (22.0, 30.0), "medium": (70.0, 90.0), "large": (190.0, 230.0)}
CORNERS_PX = {"small": (20.0, 20.0), "medium": (120.0, 20.0), "large": (260.0, 200.0)}
ADDED = "added"
"""A large person whom the network has not found."""

People = Mapping[str, ReviewedPerson]
"""What somebody labelled in an image, by the size of the person."""


def one_of_each_size(_persons: int, seed: int) -> Poses:
    """In place of the poses of the network that does nothing: a small, a medium and a large person."""
    rng = np.random.default_rng(seed)
    places = [rng.random((17, 2)) * SIDES_PX[size] + CORNERS_PX[size] for size in SIDES_PX]
    return Poses(
        keypoints=np.array(places, np.float32),
        keypoint_scores=np.full((3, 17), 0.9, np.float32),
        scores=np.array([0.9, 0.8, 0.7], np.float32),
        spread_px=np.full((3, 17), 1.0, np.float32),
    )


def labelled(pose: NDArray[np.float32], rng: np.random.Generator) -> ReviewedPerson:
    """Each joint some px away, a few not labelled."""
    extent_px = np.sqrt(np.prod(np.ptp(pose, axis=0)))
    keypoints = pose + rng.normal(0, 0.05 * extent_px, pose.shape).astype(np.float32)
    return ReviewedPerson(keypoints, rng.choice([0, 1, 2], 17, p=[0.2, 0.3, 0.5]).astype(np.int8))


@dataclass(frozen=True)
class Reviewed:
    """A run, and who said what of each of its images.

    Attributes:
        found: what is said of it.
        network: its persons, by image and size.
        said: people's, by image and reviewer, who counts in the tables at the end.
    """

    found: ReviewerAgreement
    network: dict[str, dict[str, NDArray[np.float32]]]
    said: dict[str, dict[str, People]]


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reviewed]:
    """Five images each of two generations: ann looked at all, and bob, who was imported later, at eight."""
    folder = tmp_path_factory.mktemp("agreement")
    (folder / "in").mkdir()
    standing = Standing(Storage(), str(folder / "in"), str(folder / "out"), {"min_score": 0.0})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("support.standing.some_poses", one_of_each_size)
        for generation in (1, 2):
            for seed, (key, own) in enumerate(IMAGES.items()):
                if own == generation:
                    (folder / "in" / key).write_bytes(picture(seed, 512))
            standing.sync()
        rows, rng = models_rows(standing.output), np.random.default_rng(4)
        network, said = {}, defaultdict[str, dict[str, People]](dict)
        for reviewer in ("ann", "bob"):
            for number, key in enumerate(IMAGES):
                poses = rows[key].poses
                assert poses is not None
                network[key] = dict(zip(SIDES_PX, poses.keypoints, strict=True))
                people = {size: labelled(place, rng) for size, place in network[key].items()}
                if number in (1, 7):
                    people[ADDED] = labelled(network[key]["large"] * 0.8 + (40, -190), rng)
                if reviewer == "bob":
                    people.pop("medium" if number == 6 else ADDED, None)
                if reviewer == "ann" or number not in (3, 7):
                    said[key][reviewer] = people
        for reviewer in ("ann", "bob"):
            answers = [
                answer(rows[key], list(ones[reviewer].values()), reviewer)
                for key, ones in said.items()
                if reviewer in ones
            ]
            import_reviews(standing.output, answers, [f"{reviewer}.json"])
        in_order = [*CONTROL, *(key for key in IMAGES if key not in CONTROL)]
        write_queue(standing.output, queue_of([rows[key] for key in in_order], control=len(CONTROL)))
        yield Reviewed(agreement_of(standing.output, draws=100), network, said)


@dataclass
class Counted:
    """One labelled person, held against somebody's: the joints' OKS, NaN where one of the two has none."""

    image: str
    size: str
    is_found: bool
    joints: NDArray[np.float64]


def counted(image: str, size: str, truth: ReviewedPerson, other: ReviewedPerson | None) -> Counted:
    """By the formula of COCO's page: exp(-d^2 / (2 s^2 k^2)), k being twice the sigma, s^2 the area."""
    seen = truth.keypoints[truth.visibility > 0].astype(np.float64)
    area = 0.53 * np.prod(seen.max(axis=0) - seen.min(axis=0))
    assert size == ("small" if area < 32**2 else "medium" if area < 96**2 else "large")
    joints = np.full(17, np.nan)
    if other is not None:
        for joint, sigma in enumerate(COCO.sigmas):
            if truth.visibility[joint] and other.visibility[joint]:
                x, y = truth.keypoints[joint].astype(float) - other.keypoints[joint].astype(float)
                joints[joint] = np.exp(-(x * x + y * y) / (2 * area * (2 * sigma) ** 2))
    return Counted(image, size, other is not None, joints)


def against_the_network(reviewed: Reviewed, image: str) -> Iterator[Counted]:
    """The persons of who counts in the tables."""
    (*_, people) = reviewed.said[image].values()
    for name, person in people.items():
        place = reviewed.network[image].get(name)
        other = None if place is None else ReviewedPerson(place, np.full(17, 2, np.int8))
        yield counted(image, "large" if name == ADDED else name, person, other)


def against_each_other(reviewed: Reviewed, image: str) -> Iterator[Counted]:
    for one, other in permutations(reviewed.said[image].values(), 2):
        for name, person in other.items():
            yield counted(image, "large" if name == ADDED else name, person, one.get(name))


Counts = Callable[[Reviewed, str], Iterator[Counted]]
SIDES: dict[str, tuple[Counts, Callable[[Share], PersonAgreement | None]]] = {
    "network": (against_the_network, lambda share: share.model),
    "people": (against_each_other, lambda share: share.people),
}
SHARES = {"control": CONTROL, "queue": list(IMAGES), "chosen": [k for k in IMAGES if k not in CONTROL]}


def mean(persons: list[Counted]) -> tuple[float, int, int]:
    """OKS of those who were found, of how many persons, in how many images."""
    known = [one for one in persons if one.is_found]
    return (
        float(np.mean([np.nanmean(one.joints) for one in known])),
        len(known),
        len({one.image for one in known}),
    )


def told(found: Estimate) -> object:
    assert found.value is not None
    return pytest.approx((found.value, found.count, found.images), rel=1e-6)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("share", SHARES)
def test_every_number_is_that_of_a_plain_count_of_the_rows(reviewed: Reviewed, share: str, side: str):
    count, agreement = SIDES[side]
    found = agreement(getattr(reviewed.found, share))
    assert found is not None
    persons = [one for key in SHARES[share] for one in count(reviewed, key)]
    assert mean(persons) == told(found.oks)
    assert found.found.value == pytest.approx(np.mean([one.is_found for one in persons]))
    assert found.sizes.keys() == SIDES_PX.keys()
    for size, estimate in found.sizes.items():
        assert mean([one for one in persons if one.size == size]) == told(estimate)
    assert found.generations.keys() == {"1", "2"}
    for generation, estimate in found.generations.items():
        assert mean([one for one in persons if one.image[0] == generation]) == told(estimate)
    assert found.joints.keys() == set(COCO.joints)
    for joint, estimate in zip(COCO.joints, found.joints.values(), strict=True):
        values = [one.joints[COCO.joints.index(joint)] for one in persons]
        assert estimate.value == pytest.approx(np.nanmean(values), rel=1e-6)
        assert estimate.count == np.isfinite(values).sum()


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("share", SHARES)
def test_intervals_enclose_their_numbers(reviewed: Reviewed, share: str, side: str):
    _, agreement = SIDES[side]
    found = agreement(getattr(reviewed.found, share))
    assert found is not None
    parts = {**found.joints, **found.sizes, **found.generations}
    for name, estimate in {"found": found.found, "oks": found.oks, **parts}.items():
        assert estimate.value is not None, name
        assert estimate.low is not None
        assert estimate.high is not None
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1, name
        assert estimate.low < estimate.high


@pytest.mark.parametrize("share", SHARES)
def test_errors_and_ap_lie_within_their_intervals_too(reviewed: Reviewed, share: str):
    found: Share = getattr(reviewed.found, share)
    assert found.errors is not None
    assert found.errors.interval.low <= found.errors.per_hundred_images <= found.errors.interval.high
    for name, value in found.ap.items():
        assert found.ap_intervals[name].low <= value <= found.ap_intervals[name].high, name


def test_sizes_and_generations_of_both_sides_are_printed(reviewed: Reviewed):
    lines = list(reviewer_agreement_lines(reviewed.found))
    rows = {line.split("  ")[0]: line for line in "\n".join(lines).splitlines()}
    for name in ("small", "medium", "large", "generation 1", "generation 2"):
        # Of the network and of people, of the control share and of the whole queue.
        assert rows[name].count(" to ") == 4
