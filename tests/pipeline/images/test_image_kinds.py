"""The corpus of files as they are found in the wild: what becomes of each, and what others see in it."""

from __future__ import annotations

import image_kinds_table
import pytest
from image_kinds import image_kinds

# What OpenCV makes of colours below alpha and of CMYK is its own, and it takes no LONG of big-endian files.
OPENCV_DIFFERS = {
    "JPEG, CMYK",
    "JPEG, EXIF orientation as LONG, big-endian",
    "JPEG, lossless, grey",
    "TIFF, grey and premultiplied alpha",
    "BMP, bit fields 5-6-5",
    "HEIC (with pillow-heif)",
}

# Pillow fails whole pictures by their metadata.
PILLOW_FAILS = {
    "PNG, ICC profile of 2 MB",
    "PNG, 2 MB of compressed text",
    "PNG, 64 MB of compressed text",
    "PNG, 2 MB of compressed international text",
    "PNG, wrong checksum of tEXt",
    "PNG, wrong checksum of gAMA",
    "PNG, wrong checksum of tIME",
}


KINDS = image_kinds()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_file_as_found_in_the_wild_has_the_pixels_that_other_readers_see_or_the_right_reason(kind):
    reading = image_kinds_table.read(kind)
    assert reading.status == kind.status, reading.error
    if kind.status != "ok":
        assert reading.error
        return
    if kind.name not in PILLOW_FAILS:
        assert image_kinds_table.same(reading.ours, reading.pillow)
    if kind.name not in OPENCV_DIFFERS:
        assert image_kinds_table.same(reading.ours, reading.opencv)


def test_the_names_of_the_exceptions_are_kinds_of_the_corpus():
    names = {kind.name for kind in KINDS}
    assert names >= OPENCV_DIFFERS | PILLOW_FAILS
    assert len(names) == len(KINDS)


def test_the_table_of_the_documentation_is_what_the_readers_make_of_the_corpus():
    page = image_kinds_table.PAGE.read_text()
    assert image_kinds_table.with_table(page) == page
