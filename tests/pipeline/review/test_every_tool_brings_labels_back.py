"""What people leave in a tool comes back as it was, in whatever order the tool writes it."""

from __future__ import annotations

import hashlib
import random
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.labelling_tools import EXPORTS, Labelled, LabelledImage

from pipeline.review.labels import ReviewedImage, ReviewedPerson
from pipeline.review.read_reviews import read_reviews
from pipeline.storage import Storage
from posrefine.skeletons import COCO

WIDTH, HEIGHT = 640, 480
ROUNDED_PX = 0.006
"""CVAT keeps two decimals."""

coordinates = st.tuples(st.floats(1, WIDTH), st.floats(1, HEIGHT))
joints = st.tuples(coordinates, st.integers(0, 2)).map(
    lambda joint: (joint[0][0], joint[0][1], joint[1]) if joint[1] else (0.0, 0.0, 0)
)
people = st.lists(st.lists(joints, min_size=COCO.num_joints, max_size=COCO.num_joints), max_size=3)
names = st.text(st.characters(exclude_categories=["C"], exclude_characters="/"), min_size=1, max_size=12)


@st.composite
def image_sets(draw: st.DrawFn) -> list[LabelledImage]:
    images = []
    for key in draw(st.lists(names, min_size=1, max_size=3, unique=True)):
        persons = draw(people)
        numbers = draw(st.permutations(range(len(persons))))
        added = draw(st.integers(0, len(persons)))
        images.append(
            LabelledImage(
                f"folder/{key}.jpg",
                hashlib.sha256(key.encode()).hexdigest(),
                WIDTH,
                HEIGHT,
                tuple(
                    Labelled(dict(zip(COCO.joints, person, strict=True)), None if n < added else numbers[n])
                    for n, person in enumerate(persons)
                ),
            )
        )
    return images


def matrix(person: Labelled) -> np.ndarray:
    return np.array([person.joints[name] for name in COCO.joints])


def found_matrix(person: ReviewedPerson) -> np.ndarray:
    return np.column_stack([person.keypoints, person.visibility])


def require_same(image: ReviewedImage, asked: LabelledImage) -> None:
    assert (image.image_key, image.sha256) == (asked.key, asked.sha256)
    assert (image.width, image.height) == (asked.width, asked.height)
    assert len(image.persons) == len(asked.persons)
    left = [(person.number, matrix(person)) for person in asked.persons]
    for person in image.persons:
        same = [
            one
            for one in left
            if one[0] == person.person
            and np.array_equal(one[1][:, 2], person.visibility)
            and np.abs(one[1][:, :2] - person.keypoints).max() <= ROUNDED_PX
        ]
        assert same, found_matrix(person)
        left = [one for one in left if one is not same[0]]


@pytest.mark.parametrize("tool", EXPORTS)
@settings(max_examples=20, deadline=None)
@given(images=image_sets(), seed=st.integers(0, 2**32))
def test_any_persons_in_any_order_come_back_as_they_were(tool: str, images: list[LabelledImage], seed: int):
    chance = random.Random(seed)
    shuffled = chance.sample(images, len(images))
    with tempfile.TemporaryDirectory() as folder:
        path = EXPORTS[tool](shuffled, "ann", chance, Path(folder))
        found = {
            image.image_key: image for image in read_reviews(Storage(), str(path), COCO, may_be_empty=True)
        }
    assert len(found) == len(images)
    for image in images:
        assert found[image.key].reviewer == "ann"
        require_same(found[image.key], image)


@settings(max_examples=5, deadline=None)
@given(images=image_sets(), seed=st.integers(0, 2**32))
def test_files_of_several_tools_come_back_together_and_reviewers_are_kept_apart(
    images: list[LabelledImage], seed: int
):
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as root:
        for tool, write in EXPORTS.items():
            folder = Path(root) / f"{chance.random()} {tool}"
            folder.mkdir()
            write(images, f"{tool} user", chance, folder)
        (Path(root) / "notes.txt").write_text("no export")
        found = list(read_reviews(Storage(), root, COCO, may_be_empty=True))
    assert len(found) == len(EXPORTS) * len(images)
    for image in found:
        (asked,) = (one for one in images if one.key == image.image_key)
        require_same(image, asked)
    assert {image.reviewer for image in found} == {f"{tool} user" for tool in EXPORTS}
