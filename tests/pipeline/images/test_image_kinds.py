"""The corpus of files as they are found in the wild: what becomes of each, and what others see in it."""

from __future__ import annotations

import image_kinds_table
import pytest
from image_kinds import image_kinds

from posrefine.errors import ImageError
from posrefine.photographs import pixels_of

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

# The library reads JPEG by Pillow's lenient decoder, and does not look for where a file ends.
LIBRARY_PAINTS_GREY = {
    "JPEG, 1,000 bytes of its scan missing",
    "JPEG, the same, and its scan header ends in 0, 0, 0",
}
LIBRARY_SAYS = {
    "JPEG, hierarchical (SOF5)": "corrupt",
    "BigTIFF, cut in the middle": "unsupported",
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


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_the_library_reads_what_the_jobs_read_and_fails_with_an_image_error(kind, tmp_path):
    path = tmp_path / "photograph"
    path.write_bytes(kind.data)
    if kind.status == "ok":
        assert image_kinds_table.same(pixels_of(path), image_kinds_table.read(kind).ours)
    elif kind.name not in LIBRARY_PAINTS_GREY:
        with pytest.raises(ImageError, match="photograph") as raised:
            pixels_of(path)
        assert raised.value.status == LIBRARY_SAYS.get(kind.name, kind.status)


def test_the_names_of_the_exceptions_are_kinds_of_the_corpus():
    names = {kind.name for kind in KINDS}
    assert names >= OPENCV_DIFFERS | PILLOW_FAILS | LIBRARY_PAINTS_GREY | set(LIBRARY_SAYS)
    assert len(names) == len(KINDS)


def test_the_table_of_the_documentation_is_what_the_readers_make_of_the_corpus():
    page = image_kinds_table.PAGE.read_text()
    assert image_kinds_table.with_table(page) == page
