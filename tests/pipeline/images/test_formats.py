"""AVIF and HEIC, where this installation reads them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from support.images import gradient

from pipeline.images.gate import ImageLimits, decode_image
from posrefine.errors import ImageError, ImageStatus
from posrefine.image_formats import IMAGE_SUFFIXES, PILLOW_FORMATS, UNREAD_SUFFIXES

LIMITS = ImageLimits()


def encoded(name: str, **options: object) -> bytes:
    if name not in PILLOW_FORMATS:
        pytest.skip(f"this installation does not read {name}")
    file = io.BytesIO()
    Image.fromarray(gradient(64, 48)).save(file, name, **options)
    return file.getvalue()


def status_of(data: bytes, limits: ImageLimits = LIMITS) -> ImageStatus:
    with pytest.raises(ImageError) as raised:
        decode_image(data, limits=limits, exif="apply")
    return raised.value.status


@pytest.mark.parametrize("name", ["AVIF", "HEIF"])
def test_a_photograph_of_a_newer_format_has_pillows_pixels(name):
    data = encoded(name)
    decoded = decode_image(data, limits=LIMITS, exif="apply")
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(decoded.pixels, np.asarray(image.convert("RGB")))
    assert (decoded.width, decoded.height) == (64, 48)
    assert np.abs(decoded.pixels.astype(int) - gradient(64, 48)).mean() < 8


@pytest.mark.parametrize("name", ["AVIF", "HEIF"])
def test_a_newer_format_is_turned_once(name):
    exif = Image.Exif()
    exif[274] = 6
    decoded = decode_image(encoded(name, exif=exif.tobytes()), limits=LIMITS, exif="apply")
    assert (decoded.width, decoded.height) == (48, 64)
    upright = np.rot90(gradient(64, 48), -1)
    assert np.abs(decoded.pixels.astype(int) - upright).mean() < 8


@pytest.mark.parametrize("name", ["AVIF", "HEIF"])
def test_a_newer_format_fails_like_the_others(name):
    data = encoded(name)
    assert status_of(data[: len(data) // 2]) is ImageStatus.TRUNCATED
    assert status_of(data, ImageLimits(max_pixels=1000)) is ImageStatus.TOO_LARGE
    broken = bytearray(data)
    broken[24:120] = bytes(96)
    assert status_of(bytes(broken)) in (ImageStatus.CORRUPT, ImageStatus.TRUNCATED)


def test_every_suffix_of_a_photograph_is_read_or_said_not_to_be():
    assert {".jfif", ".pjpeg", ".jpg", ".png"} < set(IMAGE_SUFFIXES)
    for suffix in (".avif", ".heic", ".heif"):
        assert (suffix in IMAGE_SUFFIXES) != (suffix in UNREAD_SUFFIXES)
