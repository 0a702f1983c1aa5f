"""Sizes and maps of network inputs, from the image's size alone."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posrefine.errors import ImageError, ImageStatus
from posrefine.inference.pixels.resize import plan_resize
from posrefine.test_protocols import MMPOSE, OFFICIAL

heights = widths = st.integers(1, 5000)
input_sizes = st.sampled_from([256, 512, 640])
no_limit = 2**62


@given(heights, widths, input_sizes)
def test_the_short_side_is_the_input_size_and_the_long_side_a_multiple_of_64_that_holds_the_image(h, w, size):
    plan = plan_resize((h, w), size, (0.5, 1.0, 2.0), OFFICIAL, no_limit)
    short, long = sorted(plan.input_hw[plan.base])
    assert short == size
    assert long % 64 == 0
    resized_long = size / min(h, w) * max(h, w)
    assert resized_long - 1 < long < resized_long + 64
    assert (plan.input_hw[0][0] > plan.input_hw[0][1]) == (h > w and long > short)


@given(heights, widths, input_sizes)
def test_other_scales_multiply_both_sides_and_come_largest_first(h, w, size):
    plan = plan_resize((h, w), size, (0.5, 1.0, 2.0), OFFICIAL, no_limit)
    assert plan.scales == (2.0, 1.0, 0.5)
    base = plan.input_hw[1]
    assert plan.input_hw[0] == (base[0] * 2, base[1] * 2)
    assert plan.input_hw[2] == (base[0] // 2, base[1] // 2)


@given(heights, widths, input_sizes, st.sampled_from([OFFICIAL, MMPOSE]))
def test_the_image_lies_in_the_middle_of_the_input_in_its_own_proportions(h, w, size, protocol):
    plan = plan_resize((h, w), size, (1.0,), protocol, no_limit)
    to_image, (input_h, input_w) = plan.input_to_image[0], plan.input_hw[0]
    assert to_image.scale_x == pytest.approx(to_image.scale_y, rel=1e-4)
    middle = (
        to_image.scale_x * input_w / 2 + to_image.shift_x,
        to_image.scale_y * input_h / 2 + to_image.shift_y,
    )
    assert middle[0] == pytest.approx(w / 2, abs=0.501)
    assert middle[1] == pytest.approx(h / 2, abs=0.501)
    assert to_image.scale_x == pytest.approx(min(h, w) / min(input_h, input_w), rel=1e-4)


def test_a_typical_photograph_has_the_published_input_sizes():
    assert plan_resize((427, 640), 512, (1.0,), OFFICIAL).input_hw == ((512, 768),)
    assert plan_resize((640, 480), 512, (1.0,), OFFICIAL).input_hw == ((704, 512),)
    assert plan_resize((480, 640), 256, (0.5, 1.0, 2.0), OFFICIAL).input_hw == (
        (512, 768),
        (256, 384),
        (128, 192),
    )


def test_an_input_size_between_multiples_is_rounded_up():
    assert plan_resize((100, 100), 500, (1.0,), OFFICIAL).input_hw == ((512, 512),)
    assert plan_resize((100, 100), 500, (1.0,), MMPOSE).input_hw == ((512, 512),)


def test_mmpose_pads_to_multiples_of_32_and_never_cuts_a_fraction_of_a_pixel():
    assert plan_resize((480, 640), 512, (1.0,), OFFICIAL).input_hw == ((512, 704),)
    assert plan_resize((480, 640), 512, (1.0,), MMPOSE).input_hw == ((512, 704),)
    assert plan_resize((512, 610), 512, (1.0,), MMPOSE).input_hw == ((512, 640),)
    assert plan_resize((1024, 1409), 512, (1.0,), OFFICIAL).input_hw == ((512, 704),)
    assert plan_resize((1024, 1409), 512, (1.0,), MMPOSE).input_hw == ((512, 736),)


def test_mmpose_keeps_half_pixels_of_the_centre():
    official = plan_resize((101, 101), 512, (1.0,), OFFICIAL).input_to_image[0]
    mmpose = plan_resize((101, 101), 512, (1.0,), MMPOSE).input_to_image[0]
    assert official.shift_x - mmpose.shift_x == pytest.approx(0.5, abs=1e-4)


@given(heights, widths)
def test_an_image_is_refused_exactly_when_its_largest_input_has_too_many_pixels(h, w):
    limit = 2**21
    plan = plan_resize((h, w), 512, (1.0, 2.0), OFFICIAL, no_limit)
    if math.prod(plan.input_hw[0]) <= limit:
        assert plan_resize((h, w), 512, (1.0, 2.0), OFFICIAL, limit) == plan
    else:
        with pytest.raises(ImageError) as caught:
            plan_resize((h, w), 512, (1.0, 2.0), OFFICIAL, limit)
        assert caught.value.status is ImageStatus.TOO_LARGE


def test_a_strip_is_refused_by_name_number_and_remedy():
    with pytest.raises(
        ImageError, match=r"10000x50 px.*102400x512 px.*limit is 8,388,608.*crop or split"
    ) as caught:
        plan_resize((50, 10_000), 512, (1.0,), OFFICIAL)
    assert caught.value.status is ImageStatus.TOO_LARGE


def test_a_wide_panorama_is_not_refused():
    assert plan_resize((500, 8000), 512, (1.0,), OFFICIAL).input_hw == ((512, 8192),)


@pytest.mark.parametrize("hw", [(0, 10), (10, 0), (0, 0)])
def test_an_image_without_pixels_is_unsupported(hw):
    with pytest.raises(ImageError, match="at least one pixel") as caught:
        plan_resize(hw, 512, (1.0,), OFFICIAL)
    assert caught.value.status is ImageStatus.UNSUPPORTED
