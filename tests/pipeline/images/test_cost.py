"""What a header tells of the memory that decoding takes, and that no more than that is taken."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zlib
from pathlib import Path

import decoding_memory
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.images import encode, exif_block, gradient

from pipeline.images.cost import decoding_cost
from pipeline.images.gate import ImageLimits, decode_image
from pipeline.images.tiff_directory import read_directory
from posrefine.errors import ImageError, ImageStatus
from posrefine.image_formats import PILLOW_FORMATS

FILES = {
    "jpeg": encode(gradient()),
    "progressive": encode(gradient(), progressive=True),
    "cmyk": encode(gradient(), mode="CMYK"),
    "png": encode(gradient(), "PNG"),
    "bmp": encode(gradient(), "BMP"),
    "webp": encode(gradient(), "WEBP"),
    "lossless webp": encode(gradient(), "WEBP", lossless=True),
    "webp with exif": encode(gradient(), "WEBP", exif=exif_block(1)),
    "gif": encode(gradient(), "GIF", mode="P"),
    "tiff": encode(gradient(), "TIFF"),
}
if "AVIF" in PILLOW_FORMATS:
    FILES["avif"] = encode(gradient(), "AVIF")


@pytest.mark.parametrize("name", FILES)
def test_the_header_tells_size_and_decoded_bytes_of_every_format(name: str):
    cost = decoding_cost(FILES[name])
    assert cost is not None
    assert (cost.width, cost.height, cost.factor) == (48, 32, 1)
    assert cost.decoded_bytes == 48 * 32 * 3
    assert cost.peak_bytes >= cost.decoded_bytes


@pytest.mark.skipif("HEIF" not in PILLOW_FORMATS, reason="pillow-heif is not installed")
def test_the_header_of_a_heif_tells_the_coded_size_which_small_pictures_fill_up():
    costs = [decoding_cost(encode(gradient(*size), "HEIF")) for size in ((48, 32), (320, 256))]
    assert [(cost.width, cost.height) for cost in costs if cost] == [(64, 64), (320, 256)]


@pytest.mark.parametrize("name", sorted(set(FILES) - {"tiff"}))
def test_the_first_kilobytes_are_enough_where_the_header_comes_first(name: str):
    whole, begun = decoding_cost(FILES[name]), decoding_cost(FILES[name][:1000])
    assert whole is not None
    assert begun is not None
    assert (begun.width, begun.height, begun.decoded_bytes) == (
        whole.width,
        whole.height,
        whole.decoded_bytes,
    )


@given(st.sampled_from(sorted(FILES)), st.integers(0, 10**4), st.integers(0, 2**32))
def test_a_damaged_header_tells_something_or_nothing_and_never_raises(name: str, length: int, seed: int):
    data = bytearray(FILES[name][:length])
    for position in np.random.default_rng(seed).integers(0, 60, 3):
        if position < len(data):
            data[position] ^= seed & 0xFF
    decoding_cost(bytes(data))


def test_decoding_smaller_costs_less():
    data = encode(gradient(1600, 1200))
    whole, smaller = decoding_cost(data), decoding_cost(data, needed_px=300)
    assert whole is not None
    assert smaller is not None
    assert (smaller.factor, smaller.decoded_bytes) == (4, 400 * 300 * 3)
    assert smaller.peak_bytes < whole.peak_bytes / 1.3


def tiff_with_tile(side_px: int, tile_px: int) -> bytes:
    """A black TIFF of one deflated tile, which may be larger than the picture."""
    tile = zlib.compress(bytes(min(tile_px * tile_px, 2**20)))
    tags = [
        *((256, 4, side_px), (257, 4, side_px), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1)),
        *((322, 4, tile_px), (323, 4, tile_px), (324, 4, 8), (325, 4, len(tile))),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    start = 8 + len(tile)
    return struct.pack("<2sHI", b"II", 42, start) + tile + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_a_small_tiff_in_a_huge_tile_is_refused_before_it_is_decoded():
    cost = decoding_cost(tiff_with_tile(64, 28_672))
    assert cost is not None
    assert cost.peak_bytes > 0.8e9
    with pytest.raises(ImageError, match=r"decoding 64 x 64 px would take 8\d{8} bytes") as caught:
        decode_image(tiff_with_tile(64, 28_672), limits=ImageLimits(), exif="apply")
    assert caught.value.status is ImageStatus.TOO_LARGE
    assert (caught.value.width, caught.value.height) == (64, 64)


def test_a_tiff_in_an_ordinary_tile_is_read():
    assert decode_image(tiff_with_tile(64, 256), limits=ImageLimits(), exif="apply").pixels.shape == (
        64,
        64,
        3,
    )


def tiff_that_says_the_same_again_and_again(entries: int, numbers: int) -> bytes:
    """A directory of so many entries, each of which names the same numbers."""
    tags = (256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 322, 323, 324, 325)
    said = b"".join(struct.pack("<HHII", tags[at % len(tags)], 3, numbers, 8) for at in range(entries))
    directory = struct.pack("<H", entries) + said + bytes(4)
    return b"II*\0" + struct.pack("<I", 8) + directory + b"\1" * (2 * numbers)


def test_a_tiff_whose_entries_share_megabytes_is_read_once_and_held_once():
    data = tiff_that_says_the_same_again_and_again(60_000, 4 * 2**20)
    tracemalloc.start()
    try:
        with pytest.raises(ImageError):
            decode_image(data, limits=ImageLimits(), exif="apply")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8 * len(data)


@given(st.lists(st.tuples(*[st.integers(0, 2**32 - 1)] * 2), max_size=4), st.sampled_from(["<", ">"]))
def test_strips_of_a_tiff_that_reach_behind_its_end_are_told(strips: list[tuple[int, int]], order: str):
    count, values_byte = len(strips), 8 + 2 + 2 * 12 + 4
    numbers = [number for column in zip(*strips, strict=True) for number in column]
    # A single number stands in its entry.
    said = numbers if count == 1 else [values_byte, values_byte + 4 * count]
    entries = [
        struct.pack(f"{order}HHII", tag, 4, count, value) for tag, value in zip((273, 279), said, strict=True)
    ]
    signature = {"<": b"II*\0", ">": b"MM\0*"}[order]
    data = signature + struct.pack(f"{order}IH", 8, 2) + b"".join(entries) + bytes(4)
    data += struct.pack(f"{order}{len(numbers)}I", *numbers)
    within = all(offset + length <= len(data) for offset, length in strips)
    assert read_directory(data).ends_within(len(data)) == within
    assert read_directory(data).ends_within(2**33)


def test_the_limit_on_a_decoders_memory_holds_for_every_format():
    file = io.BytesIO()
    Image.new("RGB", (3000, 2000)).save(file, "WEBP", lossless=True, method=0)
    assert len(file.getvalue()) < 1000
    limits = ImageLimits(max_decoder_bytes=50 * 2**20)
    with pytest.raises(ImageError, match="would take") as caught:
        decode_image(file.getvalue(), limits=limits, exif="apply")
    assert caught.value.status is ImageStatus.TOO_LARGE


def test_the_stored_measurements_took_no_more_than_the_headers_told():
    result = json.loads(decoding_memory.RESULT.read_text())
    assert len(result["cases"]) >= 14
    for case in result["cases"]:
        assert case["measured_bytes"] <= case["told_bytes"] + 2**20, case


def test_the_table_of_the_documentation_is_that_of_the_stored_measurements():
    page = decoding_memory.PAGE.read_text()
    assert decoding_memory.with_table(page) == page


SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("WebP", "PNG", "TIFF, turned by EXIF")]


@pytest.mark.parametrize("kind", ["JPEG, progressive 4:4:4", *SLOW])
def test_decoding_takes_no_more_than_the_header_tells(kind: str, tmp_path: Path):
    data = next(data for name, data in decoding_memory.pictures(2000, 1500) if name == kind)
    case = decoding_memory.measured(kind, data, tmp_path)
    assert case["measured_bytes"] <= case["told_bytes"] + 4 * 2**20
