"""Lost data of a JPEG are found behind whatever harmless faults its header has."""

from __future__ import annotations

import contextlib
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.images import encode, gradient

from pipeline.images.gate import ImageLimits, decode_image
from pipeline.images.plain_jpeg import plain_jpeg
from posrefine.errors import ImageError, ImageStatus

NOISE = np.random.default_rng(5).integers(0, 256, (240, 320, 3), dtype=np.uint8)
PICTURE = (gradient(320, 240) // 2 + NOISE // 4).astype(np.uint8)
JPEGS = {
    "baseline": encode(PICTURE, quality=90),
    "restart markers": encode(PICTURE, quality=90, restart_marker_rows=1),
    "cmyk": encode(PICTURE, mode="CMYK", quality=90),
}
STRAY = b"\x12\x00\x34"


def decode(data: bytes) -> np.ndarray:
    return decode_image(data, limits=ImageLimits(), exif="apply").pixels


def scan_start(data: bytes) -> int:
    at = data.index(b"\xff\xda")
    return at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")


def with_stray_bytes(data: bytes) -> bytes:
    at = data.index(b"\xff\xdb")
    return data[:at] + STRAY + data[at:]


# Not with restart markers: once in some hundred places the rest decodes without any warning.
@given(st.sampled_from(["baseline", "cmyk"]), st.integers(0, 10**6), st.booleans())
@settings(max_examples=150)
def test_a_thousand_bytes_missing_inside_a_scan_are_never_overlooked(name: str, place: int, stray: bool):
    data = JPEGS[name]
    start = scan_start(data)
    cut = start + place % (len(data) - 1002 - start)
    damaged = data[:cut] + data[cut + 1000 :]
    with pytest.raises(ImageError) as caught:
        decode(with_stray_bytes(damaged) if stray else damaged)
    assert caught.value.status is ImageStatus.CORRUPT


@given(st.sets(st.integers(0, 13), min_size=1), st.integers(1, 40), st.sampled_from([0x00, 0x55, 0x7F]))
def test_filling_before_any_restart_markers_harms_nothing(intervals: set[int], length: int, value: int):
    data = JPEGS["restart markers"]
    markers = [
        at
        for at in range(scan_start(data), len(data) - 1)
        if data[at] == 0xFF and 0xD0 <= data[at + 1] <= 0xD7
    ]
    assert len(markers) == 14
    filled = data
    for number in sorted(intervals, reverse=True):
        filled = filled[: markers[number]] + bytes([value]) * length + filled[markers[number] :]
    np.testing.assert_array_equal(decode(filled), decode(data))


def test_an_interval_that_is_lost_between_filled_ones_is_not_overlooked():
    data = JPEGS["restart markers"]
    first, second = data.index(b"\xff\xd1"), data.index(b"\xff\xd2")
    filled = data[:first] + bytes(5) + data[first : second - 40] + data[second:]
    with pytest.raises(ImageError) as caught:
        decode(filled)
    assert caught.value.status is ImageStatus.CORRUPT


@pytest.mark.parametrize("length", [1, 3, 8])
def test_stray_bytes_before_every_marker_of_a_progressive_picture_harm_nothing(length: int):
    data = encode(PICTURE, quality=90, progressive=True)
    expected = decode(data)
    for marker in (b"\xff\xc4", b"\xff\xda"):
        parts = data.split(marker)
        data = (b"\x12" * length + marker).join([marker.join(parts[:2]), *parts[2:]])
    np.testing.assert_array_equal(decode(data), expected)


def test_a_scan_of_a_progressive_picture_that_lost_its_header_is_no_stray_bytes():
    data = encode(PICTURE, quality=90, progressive=True)
    last = data.rindex(b"\xff\xda")
    header_bytes = 2 + int.from_bytes(data[last + 2 : last + 4], "big")
    with pytest.raises(ImageError) as caught:
        decode(data[:last] + data[last + header_bytes :])
    assert caught.value.status is ImageStatus.CORRUPT


def test_more_restart_intervals_than_anyone_writes_end_as_corrupt_and_not_in_hours_of_work():
    data = encode(np.zeros((1600, 1600, 3), np.uint8), subsampling=0, restart_marker_blocks=1)
    at = data.index(b"\xff\xd0")
    with pytest.raises(ImageError) as caught:
        decode(data[:at] + bytes(40) + data[at:])
    assert caught.value.status is ImageStatus.CORRUPT


@pytest.mark.parametrize("name", JPEGS)
def test_markers_repeated_half_a_million_times_are_gone_through_once_and_not_for_ever(name: str):
    repeated = b"\xff" * 2**19 + b"\0"
    at = JPEGS[name].index(b"\xff\xdb")
    assert (decode(JPEGS[name][:at] + repeated + JPEGS[name][at:]) == decode(JPEGS[name])).all()

    # Inside of a scan they stand for one byte of data too many, which is not always noticed.
    start = scan_start(JPEGS[name]) + 1000
    with contextlib.suppress(ImageError):
        decode(with_stray_bytes(JPEGS[name][:start] + repeated + JPEGS[name][start:]))


@given(
    st.lists(st.sampled_from([b"\xff", b"\0", b"\xd0", b"\xda", b"\xc4", b"a"]), max_size=30).map(b"".join)
)
def test_fill_bytes_before_a_marker_belong_to_no_data(between: bytes):
    head, scan = b"\xff\xd8", b"\xff\xda\0\2"
    found = plain_jpeg(head + scan + between + b"\xff\xd9")
    end = re.search(rb"\xff+[^\x00\xff\xd0-\xd7]", between + b"\xff\xd9", re.DOTALL)
    assert end is not None
    assert found.scans[0].data == between[: end.start()]
