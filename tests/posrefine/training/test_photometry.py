"""Random colours, blur and noise of views."""

from __future__ import annotations

import numpy as np
import pytest
from support.training import small_recipe, small_stream

from posrefine.errors import ConfigurationError
from posrefine.training.photometry import Photometry

RNG = np.random.default_rng
GREY = np.full((32, 32, 3), 90, np.uint8)


def speckled() -> np.ndarray:
    return RNG(3).integers(0, 256, (48, 48, 3), np.uint8)


def test_at_strength_zero_pixels_stay_as_they_are():
    np.testing.assert_array_equal(Photometry().apply(speckled(), RNG(0)), speckled())


@pytest.mark.parametrize("photometry", [Photometry(1.0, 0.0), Photometry(0.0, 1.0), Photometry(1.0, 1.0)])
def test_the_same_random_numbers_give_the_same_pixels_and_others_give_others(photometry: Photometry):
    first, again, other = (photometry.apply(speckled(), RNG(seed)) for seed in (1, 1, 2))
    assert first.shape == speckled().shape
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_colour_changes_brightness_in_both_directions_and_grows_with_its_strength():
    def means(strength: float) -> np.ndarray:
        return np.array([Photometry(strength).apply(GREY, RNG(seed)).mean() for seed in range(60)])

    strong, weak = means(1.0), means(0.2)
    assert strong.min() < 70 < 110 < strong.max()
    assert weak.std() < 0.5 * strong.std()


def test_colour_sometimes_leaves_no_colour_and_turns_hues():
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 0] = 200
    seen = np.array([Photometry(1.0).apply(red, RNG(seed))[0, 0] for seed in range(120)]).astype(int)
    spread = seen.max(axis=1) - seen.min(axis=1)
    assert (spread < 40).any()
    assert (seen.argmax(axis=1) == 0).mean() > 0.7
    assert ((seen[:, 1] - seen[:, 2]) > 10).any()
    assert ((seen[:, 1] - seen[:, 2]) < -10).any()


def test_degrading_blurs_edges_and_adds_noise_to_flat_areas():
    edge = np.zeros((32, 32, 3), np.uint8)
    edge[:, 16:] = 255
    steepest = [
        np.abs(np.diff(Photometry(0.0, 1.0).apply(edge, RNG(seed)).astype(int), axis=1)).max(axis=1).mean()
        for seed in range(20)
    ]
    assert np.median(steepest) < 200
    noise = [Photometry(0.0, 1.0).apply(GREY, RNG(seed)).std() for seed in range(20)]
    assert np.median(noise) > 1


def test_the_colours_of_a_run_do_not_change_what_its_views_show():
    plain = small_stream(small_recipe())
    coloured = small_stream(small_recipe(), photometry=Photometry(1.0, 0.5))
    for one, other in zip(plain.views(1), coloured.views(1), strict=True):
        np.testing.assert_array_equal(one.keypoints, other.keypoints)
        np.testing.assert_array_equal(one.ignored, other.ignored)
        assert not np.array_equal(one.pixels, other.pixels)


@pytest.mark.parametrize("numbers", [(-0.1, 0.0), (0.0, 1.1)])
def test_strengths_are_from_0_to_1(numbers: tuple[float, float]):
    with pytest.raises(ConfigurationError, match="give a number from 0 to 1"):
        Photometry(*numbers)
