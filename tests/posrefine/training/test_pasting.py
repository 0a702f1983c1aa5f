"""Rendered persons in views of photographs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.labelled import labelled_image
from support.training import small_recipe, small_stream

from posrefine.errors import ConfigurationError
from posrefine.skeletons import COCO
from posrefine.training.pasting import Pasting
from posrefine.training.samples import LabelledImage

RNG = np.random.default_rng


def donor() -> LabelledImage:
    """A white person, 20x40 px, in a black room; a grey one without joints beside it."""
    points = np.zeros((2, 17, 3), np.float32)
    points[0] = [(30 + 10 * (n % 2), 24 + 2 * n, 2) for n in range(17)]
    image = labelled_image(points, size_px=(80, 80), diagonal_px=45.0)
    instances = np.zeros((80, 80), np.uint8)
    instances[20:60, 25:45], instances[20:60, 50:70] = 1, 2
    pixels = np.zeros((80, 80, 3), np.uint8)
    pixels[instances == 1], pixels[instances == 2] = 255, 99
    return replace(image, pixels=pixels, instances=instances)


def view(*joints: tuple[float, float]) -> LabelledImage:
    """An ignored view of value 50 with one person of these joints."""
    points = np.zeros((1, 17, 3), np.float32)
    points[0, : len(joints)] = [(x, y, 2) for x, y in joints]
    image = labelled_image(points, size_px=(64, 64))
    return replace(image, pixels=np.full((64, 64, 3), 50, np.uint8), ignored=np.ones((64, 64), np.bool_))


def pasted(onto: LabelledImage, seed: int, **changes: object) -> LabelledImage:
    return Pasting([donor()], 1.0, (40.0, 60.0), **changes).apply(onto, COCO, RNG(seed))


@pytest.mark.parametrize("seed", range(8))
def test_a_pasted_person_brings_its_pixels_joints_and_size_and_nothing_of_its_room(seed: int):
    seen = pasted(view((2, 2)), seed)
    person = seen.pixels[..., 0] > 200
    assert seen.pixels.min() >= 40
    assert person.any()
    assert len(seen.keypoints) >= 1
    assert 40 <= seen.diagonals_px[-1] <= 60
    joints = seen.keypoints[-1, :, :2]
    inside = (joints > 3).all(axis=1) & (joints < 60).all(axis=1)
    columns, rows = np.rint(joints[inside]).astype(int).T
    assert person[rows, columns].mean() > 0.9
    assert not seen.ignored[person].any()
    assert seen.ignored[~person].mean() > 0.9


def test_joints_behind_a_pasted_person_are_hidden_and_persons_behind_it_are_gone():
    grid = [(x, y) for x in (4, 20, 36, 52) for y in (4, 20, 36, 52)]
    hidden, seen_persons = 0, set()
    for seed in range(12):
        seen = pasted(view(*grid), seed)
        hidden += int((seen.keypoints[0, :16, 2] == 1).sum())
        seen_persons.add(len(pasted(view((32, 32)), seed).keypoints))
    assert hidden > 0
    assert seen_persons == {1, 2}


def test_a_run_pastes_into_images_without_masks_only():
    pasting = Pasting([donor()], 1.0, (20.0, 40.0))
    plain, with_persons = small_stream(small_recipe()), small_stream(small_recipe(), pasting=pasting)
    assert [len(seen.keypoints) for seen in plain.views(0)] == [1, 1]
    assert max(len(seen.keypoints) for step in range(4) for seen in with_persons.views(step)) == 2

    class Rendered:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, position: int) -> LabelledImage:
            return donor()

    rendered = replace(with_persons, source=Rendered())
    assert {len(seen.keypoints) for step in range(4) for seen in rendered.views(step)} == {2}


def test_at_probability_zero_nobody_is_pasted():
    untouched = Pasting([donor()], 0.0).apply(view((2, 2)), COCO, RNG(0))
    np.testing.assert_array_equal(untouched.pixels, view((2, 2)).pixels)
    with pytest.raises(ConfigurationError, match=r"probability 1\.5"):
        Pasting([donor()], 1.5)
