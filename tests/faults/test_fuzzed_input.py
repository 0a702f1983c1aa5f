"""Real archives and images, damaged at random: rows or an error of the project, and never a hang."""

from __future__ import annotations

import random
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.images import encode, exif_block, gradient
from support.shards import make_parquet, make_tar

from pipeline.images.gate import ImageLimits, decode_image
from pipeline.inputs.cutting import CutOptions, cut_into_units
from pipeline.inputs.load import is_broken_shard, load_unit
from pipeline.inputs.readers import ReadOptions
from pipeline.storage import Storage
from pipeline.storage.object_file import ObjectFile
from pipeline.storage.read_ahead import ReadAhead
from posrefine.errors import ImageError, ImageStatus, PosRefineError
from posrefine.image_formats import PILLOW_FORMATS

# For decoders that hang; shards are bounded by what is read of them. Slow machines need a small part of it.
pytestmark = pytest.mark.timeout(300)

IMAGES = {
    "a.jpg": encode(gradient()),
    "exif.jpg": encode(gradient(), exif=exif_block(6)),
    "progressive.jpg": encode(gradient(), progressive=True),
    "cmyk.jpg": encode(gradient(), mode="CMYK"),
    "b.png": encode(gradient(), "PNG"),
    "palette.png": encode(gradient(), "PNG", mode="P"),
    "c.bmp": encode(gradient(), "BMP"),
    "d.gif": encode(gradient(), "GIF"),
    "e.tiff": encode(gradient(), "TIFF", compression="tiff_lzw"),
    "f.tiff": encode(gradient(), "TIFF", compression="tiff_adobe_deflate"),
    "g.webp": encode(gradient(), "WEBP"),
}
IMAGES |= {
    f"i.{name.lower()}": encode(gradient(96, 80), name) for name in ("AVIF", "HEIF") if name in PILLOW_FORMATS
}
TARS = {
    name: make_tar(IMAGES | {f"{'long/' * 30}h.jpg": IMAGES["a.jpg"]}, tar_format)
    for name, tar_format in (("gnu", tarfile.GNU_FORMAT), ("pax", tarfile.PAX_FORMAT))
}
PARQUET = make_parquet(IMAGES, rows_per_group=3)
# Of one unit; the most that damage has made of it are 33 reads, that go over the shard twice.
MOST_READS, MOST_TIMES = 500, 5
LIMITS = ImageLimits(max_encoded_bytes=2**20, max_pixels=2**20)

Damage = Callable[[bytearray, random.Random], bytearray]


def flip(data: bytearray, chance: random.Random) -> bytearray:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return data


def overwrite(data: bytearray, chance: random.Random) -> bytearray:
    start = chance.randrange(len(data))
    length = min(chance.choice([1, 2, 4, 12, 512]), len(data) - start)
    data[start : start + length] = chance.choice([bytes(length), b"\xff" * length, chance.randbytes(length)])
    return data


def remove(data: bytearray, chance: random.Random) -> bytearray:
    start = chance.randrange(len(data))
    del data[start : start + chance.choice([1, 3, 512, 1024])]
    return data


def repeat(data: bytearray, chance: random.Random) -> bytearray:
    start = chance.randrange(len(data))
    place = chance.randrange(len(data))
    data[place:place] = data[start : start + chance.choice([1, 7, 512, 1536])]
    return data


def cut(data: bytearray, chance: random.Random) -> bytearray:
    del data[chance.randrange(len(data)) :]
    return data


DAMAGES: list[Damage] = [flip, flip, overwrite, overwrite, remove, repeat, cut]


def damaged(data: bytes, seed: int) -> bytes:
    """One to four damages, chosen by the seed."""
    chance, broken = random.Random(seed), bytearray(data)
    for _ in range(chance.randint(1, 4)):
        if broken:
            broken = chance.choice(DAMAGES)(broken, chance)
    return bytes(broken)


@given(st.sampled_from(sorted(IMAGES)), st.integers(0, 2**32))
@settings(max_examples=2000)
def test_a_damaged_image_has_pixels_within_the_limits_or_an_image_error(name: str, seed: int):
    try:
        decoded = decode_image(damaged(IMAGES[name], seed), limits=LIMITS, exif="apply")
    except ImageError:
        return
    assert decoded.pixels.dtype == np.uint8
    assert decoded.pixels.shape[2] == 3
    assert decoded.pixels.shape[0] * decoded.pixels.shape[1] <= LIMITS.max_pixels


@contextmanager
def bounded_reading(size_bytes: int) -> Iterator[None]:
    """What is read in the block of a shard of that size must come to an end: a hang is an error at once."""
    done = {"reads": 0, "bytes": 0}

    def counted(read: Callable[..., bytes]) -> Callable[..., bytes]:
        def reading(*args: object) -> bytes:
            data = read(*args)
            done["reads"] += 1
            done["bytes"] += len(data)
            assert done["reads"] <= MOST_READS, "reads without end"
            assert done["bytes"] <= MOST_TIMES * size_bytes, "reads the same again and again"
            return data

        return reading

    with (
        patch.object(ReadAhead, "read", counted(ReadAhead.read)),
        patch.object(ObjectFile, "read", counted(ObjectFile.read)),
    ):
        yield


def rows_of(name: str, data: bytes, unit_bytes: int) -> list[tuple[str, ImageStatus, bool]]:
    """Uri, status and whether it stands for a part of the shard, of every row that a run would write."""
    with TemporaryDirectory() as folder:
        Path(folder, name).write_bytes(data)
        with bounded_reading(len(data)):
            units = list(cut_into_units(folder, Storage(), CutOptions(unit_bytes=unit_bytes)))
        rows = []
        for unit in units:
            with bounded_reading(len(data)):
                images = load_unit(unit, Storage(), ReadOptions(limits=LIMITS))
            rows += [(image.uri, image.status, is_broken_shard(unit, image.uri)) for image in images]
        return rows


def require_rows_or_an_error_of_the_project(name: str, data: bytes, unit_bytes: int) -> None:
    try:
        rows = rows_of(name, data, unit_bytes)
    except PosRefineError:
        return
    uris = [uri for uri, _, _ in rows]
    assert len(uris) == len(set(uris)), "two rows have one uri"


@given(st.sampled_from(sorted(TARS)), st.integers(0, 2**32), st.sampled_from([2_000, 2**20]))
@settings(max_examples=300)
def test_a_damaged_tar_has_rows_or_an_error_of_the_project(name: str, seed: int, unit_bytes: int):
    require_rows_or_an_error_of_the_project("a.tar", damaged(TARS[name], seed), unit_bytes)


# A column's name that is no UTF-8.
@example(1829)
@given(st.integers(0, 2**32))
@settings(max_examples=500)
def test_a_damaged_parquet_file_has_rows_or_an_error_of_the_project(seed: int):
    require_rows_or_an_error_of_the_project("a.parquet", damaged(PARQUET, seed), 2**20)
