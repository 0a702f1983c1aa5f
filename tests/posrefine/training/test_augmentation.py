from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support.labelled import labelled_image

from posrefine.skeletons import COCO, CROWDPOSE
from posrefine.training.augmentation import Augmentation, apply_view, make_view


def dot_image(x: int, y: int, height: int, width: int):
    """A smooth spot at (x, y), labelled as every joint of one person."""
    rows, columns = np.mgrid[:height, :width]
    spot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 4.0**2))
    image = labelled_image(np.tile(np.float32([x, y, 2]), (1, 17, 1)), size_px=(height, width))
    return replace(image, pixels=np.repeat(spot[..., None], 3, axis=2).astype(np.uint8))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(20, 179),
    st.integers(20, 139),
    st.sampled_from([(160, 200), (200, 160)]),
)
def test_joints_stay_on_their_pixels(seed: int, x: int, y: int, size: tuple[int, int]):
    x, y = (x, y) if size[1] > size[0] else (y, x)
    view = Augmentation(input_size_px=128).draw(np.random.default_rng(seed), dot_image(x, y, *size))
    seen = apply_view(dot_image(x, y, *size), view, COCO)
    joint = seen.keypoints[0, 0, :2]
    assume(bool(np.all((joint > 16) & (joint < 111))))
    mass = seen.pixels[..., 0].astype(np.float64)
    mass[mass < 8] = 0
    rows, columns = np.mgrid[:128, :128]
    found = np.array([(columns * mass).sum(), (rows * mass).sum()]) / mass.sum()
    np.testing.assert_allclose(joint, found, atol=0.25)


@pytest.mark.parametrize("skeleton", [COCO, CROWDPOSE])
def test_mirroring_swaps_left_and_right_joints(skeleton):
    points = np.arange(skeleton.num_joints * 3, dtype=np.float32).reshape(1, -1, 3)
    image = labelled_image(points, size_px=(64, 64))
    view = make_view((31.5, 31.5), 64, 0, 64, mirrored=True)
    seen = apply_view(image, view, skeleton)
    left, right = skeleton.joints.index("left_knee"), skeleton.joints.index("right_knee")
    np.testing.assert_allclose(seen.keypoints[0, left, 0], 63 - points[0, right, 0])
    np.testing.assert_allclose(seen.keypoints[0, left, 1:], points[0, right, 1:])


def test_mirroring_twice_is_the_image_itself():
    image = dot_image(20, 30, 64, 64)
    view = make_view((31.5, 31.5), 64, 0, 64, mirrored=True)
    twice = apply_view(apply_view(image, view, COCO), view, COCO)
    np.testing.assert_array_equal(twice.pixels, image.pixels)
    np.testing.assert_allclose(twice.keypoints, image.keypoints)


def test_the_plain_view_changes_nothing():
    image = dot_image(20, 30, 64, 64)
    seen = apply_view(image, make_view((31.5, 31.5), 64, 0, 64, mirrored=False), COCO)
    np.testing.assert_array_equal(seen.pixels, image.pixels)
    np.testing.assert_array_equal(seen.keypoints, image.keypoints)
    assert not seen.ignored.any()


def test_ignored_regions_move_along_and_outside_of_the_photograph_is_ignored():
    image = dot_image(20, 30, 64, 64)
    ignored = np.zeros((64, 64), np.bool_)
    ignored[:, :8] = True
    seen = apply_view(replace(image, ignored=ignored), make_view((15.5, 31.5), 64, 0, 64, False), COCO)
    assert seen.ignored[:, :24].all()
    assert not seen.ignored[:, 24:].any()


def test_diagonals_grow_with_the_zoom_and_areas_stay_those_of_the_photograph():
    seen = apply_view(dot_image(20, 30, 64, 64), make_view((31.5, 31.5), 32, 20, 128, True), COCO)
    assert seen.diagonals_px[0] == pytest.approx(400.0)
    assert seen.areas_px2[0] == 1e4


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32))
def test_views_stay_in_their_ranges_and_are_a_function_of_the_seed(seed: int):
    augmentation = Augmentation(input_size_px=256)
    image = dot_image(20, 30, 300, 400)
    view = augmentation.draw(np.random.default_rng(seed), image)
    again = augmentation.draw(np.random.default_rng(seed), image)
    np.testing.assert_array_equal(view.matrix, again.matrix)
    zoom = np.sqrt(abs(np.linalg.det(view.matrix[:, :2])))
    assert 256 / (300 * 1.5) <= zoom <= 256 / (300 * 0.75)
    sign = -1 if view.mirrored else 1
    angle = np.rad2deg(np.arctan2(view.matrix[1, 0] * 1, sign * view.matrix[0, 0]))
    assert abs(angle) <= 30


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 79), st.integers(0, 59), st.sampled_from([64, 256]))
def test_views_around_persons_have_one_in_their_middle_in_the_wanted_size(
    seed: int, x: int, y: int, side_px: int
):
    augmentation = Augmentation(
        input_size_px=side_px, person_size_range_px=(20.0, 60.0), max_translation=0, person_probability=1
    )
    image = dot_image(x, y, 60, 80)
    view = augmentation.draw(np.random.default_rng(seed), image)
    np.testing.assert_allclose(view.matrix @ [x, y, 1], [(side_px - 1) / 2] * 2, atol=1e-4)
    zoom = np.sqrt(abs(np.linalg.det(view.matrix[:, :2])))
    assert 20 * 0.999 <= zoom * image.diagonals_px[0] <= 60 * 1.001


def test_without_labelled_persons_views_begin_in_the_middle_of_the_image():
    nobody = labelled_image(np.zeros((1, 17, 3), np.float32), size_px=(60, 80))
    augmentation = Augmentation(input_size_px=64, max_translation=0, person_probability=1)
    view = augmentation.draw(np.random.default_rng(0), nobody)
    np.testing.assert_allclose(view.matrix @ [39.5, 29.5, 1], [31.5, 31.5], atol=1e-9)


def test_mirroring_swaps_which_joints_are_known():
    known = np.ones(17, np.bool_)
    known[COCO.joints.index("left_knee")] = False
    image = replace(labelled_image(np.zeros((1, 17, 3)), size_px=(64, 64)), known_joints=known)
    mirrored = apply_view(image, make_view((31.5, 31.5), 64, 0, 64, mirrored=True), COCO).known_joints
    assert np.flatnonzero(~mirrored).tolist() == [COCO.joints.index("right_knee")]
    straight = apply_view(image, make_view((31.5, 31.5), 64, 0, 64, mirrored=False), COCO).known_joints
    np.testing.assert_array_equal(straight, known)


def test_a_person_that_fills_the_image_is_not_shown_small_in_the_middle_of_nothing():
    image = labelled_image(np.full((1, 17, 3), 50), size_px=(100, 140), diagonal_px=100.0)
    wide = {"input_size_px": 64, "person_probability": 1.0, "person_size_range_px": (8.0, 9.0)}
    for seed in range(10):
        free = Augmentation(**wide).draw(np.random.default_rng(seed), image)
        bound = Augmentation(**wide, largest_cut_out=1.2).draw(np.random.default_rng(seed), image)
        assert np.sqrt(abs(np.linalg.det(free.matrix[:, :2]))) < 0.1
        assert np.sqrt(abs(np.linalg.det(bound.matrix[:, :2]))) == pytest.approx(64 / 120)
