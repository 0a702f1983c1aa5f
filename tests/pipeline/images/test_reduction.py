"""Large pictures decoded smaller: when, by how much, and where their pixels then lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from support.images import encode, exif_block, gradient

from pipeline.images.gate import DecodedImage, ImageLimits, decode_image
from pipeline.images.reduction import Reduction, needed_size_px, reduction_factor


def decode(data: bytes, needed_px: int | None, exif="apply") -> DecodedImage:
    return decode_image(data, limits=ImageLimits(), exif=exif, needed_px=needed_px)


def dot(width: int, height: int, x: float, y: float) -> np.ndarray:
    """[H, W, 3] uint8, a bright bell of 12 px around a point, in px whose centres are whole numbers."""
    rows, columns = np.mgrid[0:height, 0:width]
    bell = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 12.0**2))
    return np.repeat((bell * 200)[:, :, None].round().astype(np.uint8), 3, axis=2)


def centre(pixels: np.ndarray) -> np.ndarray:
    """[x, y] of the bell, as the centre of mass."""
    weights = pixels[:, :, 1].astype(float)
    rows, columns = np.mgrid[0 : weights.shape[0], 0 : weights.shape[1]]
    return np.array([(columns * weights).sum(), (rows * weights).sum()]) / weights.sum()


@pytest.mark.parametrize(
    ("short_px", "factor"),
    [(512, 1), (1023, 1), (1024, 2), (2047, 2), (2048, 4), (4095, 4), (4096, 8), (20_000, 8)],
)
def test_a_picture_is_decoded_smaller_from_twice_the_needed_size_on(short_px: int, factor: int):
    assert reduction_factor(short_px, 30_000, 512) == reduction_factor(30_000, short_px, 512) == factor
    assert reduction_factor(short_px, 30_000, None) == 1


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"kind": "PNG"}, {"mode": "L"}, {"mode": "CMYK"}]
)
def test_a_picture_of_cocos_size_is_the_same_bit_for_bit(options: dict[str, str]):
    data = encode(gradient(640, 480), **options)
    whole, asked = decode(data, None), decode(data, 512)
    assert asked.reduction == Reduction()
    np.testing.assert_array_equal(asked.pixels, whole.pixels)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "BMP", "GIF"])
@pytest.mark.parametrize("size", [(161, 83), (160, 80), (167, 87)])
def test_other_formats_are_reduced_by_the_mean_of_whole_blocks(kind: str, size: tuple[int, int]):
    data = encode(gradient(*size), kind, **({"lossless": True} if kind == "WEBP" else {}))
    whole, smaller = decode(data, None).pixels, decode(data, 20)
    assert smaller.reduction.factor == 4
    expected = np.asarray(Image.fromarray(whole).reduce(4))
    np.testing.assert_array_equal(smaller.pixels, expected)
    assert smaller.pixels.shape[:2] == (-(-size[1] // 4), -(-size[0] // 4))
    assert (smaller.width, smaller.height) == size


@given(
    st.sampled_from([2, 4, 8]),
    st.integers(1, 8),
    st.sampled_from(["JPEG", "PNG", "TIFF"]),
    st.integers(800, 815),
    st.integers(800, 815),
    st.sampled_from(["apply", "ignore"]),
)
@settings(max_examples=40)
def test_places_come_back_exactly_for_every_size_factor_and_orientation(
    factor: int, orientation: int, kind: str, width: int, height: int, exif: str
):
    options = {"quality": 98} if kind == "JPEG" else {}
    data = encode(dot(width, height, 301.0, 420.0), kind, exif=exif_block(orientation), **options)
    whole, smaller = decode(data, None, exif), decode(data, 800 // factor, exif)
    assert smaller.reduction.factor == factor
    assert (smaller.height, smaller.width) == whole.pixels.shape[:2]
    assert (whole.height, whole.width) == whole.pixels.shape[:2]
    np.testing.assert_allclose(
        smaller.reduction.to_picture(centre(smaller.pixels)), centre(whole.pixels), atol=0.1
    )


def test_without_a_turn_coordinates_come_back_by_the_factor_and_half_a_block():
    points = np.array([[0.0, 0.0], [10.0, 3.0]], np.float32)
    for factor in (1, 2, 4, 8):
        back = Reduction(factor).to_picture(points)
        assert back.dtype == np.float32
        np.testing.assert_array_equal(back, points * factor + (factor - 1) / 2)


def test_a_reduced_jpeg_looks_like_the_mean_of_its_blocks():
    data = encode(gradient(1203, 805), quality=95)
    whole, smaller = decode(data, None).pixels, decode(data, 200).pixels
    means = np.asarray(Image.fromarray(whole).reduce(4))
    assert np.abs(smaller.astype(int) - means).mean() < 2


def test_a_jpeg_with_lost_data_fails_however_small_it_is_decoded():
    noise = np.random.default_rng(0).integers(0, 256, (800, 800, 3), dtype=np.uint8)
    data = encode(noise, quality=90)
    middle = len(data) // 2
    with pytest.raises(Exception, match="premature end"):
        decode(data[:middle] + data[middle + 1000 :], 100)


def test_what_is_needed_follows_from_input_and_largest_scale_and_never_halves_cocos_photographs():
    assert needed_size_px(512, (0.5, 1, 2)) == 1024
    assert needed_size_px(640, (1.0,)) == 640
    assert needed_size_px(256, (0.5,)) == 512
    for input_size in (64, 256, 512, 640):
        assert reduction_factor(640, 640, needed_size_px(input_size, (1.0,))) == 1
