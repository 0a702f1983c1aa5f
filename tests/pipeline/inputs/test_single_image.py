"""Every image that a run's row names can be fetched alone, wherever it lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.images import encode, exif_block, gradient
from support.s3 import Bucket
from support.shards import make_parquet, make_tar

from pipeline.inputs import parquet_rows
from pipeline.inputs.manifest import CutOptions, cut_into_units
from pipeline.inputs.readers import iter_unit
from pipeline.inputs.single_image import ImageReader
from pipeline.storage import Storage
from posrefine.errors import ImageError, ObjectChanged, ObjectMissing

IMAGES = {f"folder #1/{number}.jpg": encode(gradient(40 + number, 30)) for number in range(25)}


def every_row(uri: str) -> list[tuple[str, np.ndarray]]:
    """What a run's reader makes of the input: uri and pixels of every image."""
    units = cut_into_units(uri, Storage(), CutOptions())
    images = [image for unit in units for image in iter_unit(unit, Storage())]
    assert len(images) == len(IMAGES)
    return [(image.uri, image.pixels) for image in images if image.pixels is not None]


def write_input(kind: str, folder: Path) -> None:
    if kind == "tar":
        (folder / "shard.tar").write_bytes(make_tar({"notes.txt": b"x" * 700, **IMAGES}))
    elif kind == "parquet":
        (folder / "shard.parquet").write_bytes(make_parquet(IMAGES))
    else:
        for name, data in IMAGES.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)


@pytest.mark.parametrize("kind", ["folder", "tar", "parquet"])
def test_the_image_behind_a_uri_is_the_one_the_run_read(kind: str, tmp_path: Path):
    write_input(kind, tmp_path)
    reader = ImageReader(Storage())
    for uri, pixels in every_row(str(tmp_path)):
        np.testing.assert_array_equal(reader.pixels(uri), pixels)


def test_a_row_is_read_without_its_row_group_being_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_bytes: list[int]
):
    repeated = bytes(2**20)
    (tmp_path / "a.parquet").write_bytes(make_parquet(dict.fromkeys(map(str, range(100)), repeated), 100))
    monkeypatch.setattr(parquet_rows, "_BATCH_BYTES", 4 * 2**20)
    assert ImageReader(Storage()).encoded(f"{tmp_path}/a.parquet#70") == repeated
    assert max(batch_bytes) < 5 * 2**20


def test_images_of_a_bucket_are_found_too(s3_bucket: Bucket):
    s3_bucket.write("in/shard.tar", make_tar(IMAGES))
    reader = ImageReader(Storage())
    for uri, pixels in every_row(f"{s3_bucket.uri}/in"):
        np.testing.assert_array_equal(reader.pixels(uri), pixels)


def test_the_exif_rule_is_the_runs(tmp_path: Path):
    path = tmp_path / "turned.jpg"
    path.write_bytes(encode(gradient(40, 30), exif=exif_block(6)))
    assert ImageReader(Storage(), exif="apply").pixels(str(path)).shape == (40, 30, 3)
    assert ImageReader(Storage(), exif="ignore").pixels(str(path)).shape == (30, 40, 3)


def test_absent_objects_rows_and_members_are_told_apart_from_broken_images(tmp_path: Path):
    write_input("tar", tmp_path)
    write_input("parquet", tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not a photograph")
    (tmp_path / "empty.parquet").write_bytes(make_parquet({"a.jpg": None}))
    reader = ImageReader(Storage())
    with pytest.raises(ObjectMissing):
        reader.pixels(str(tmp_path / "gone.jpg"))
    with pytest.raises(ObjectMissing):
        reader.pixels(str(tmp_path / "gone.tar#0"))
    with pytest.raises(ObjectMissing):
        reader.pixels(str(tmp_path / "empty.parquet#0"))
    with pytest.raises(ObjectChanged):
        reader.pixels(str(tmp_path / "shard.tar#999999999"))
    with pytest.raises(ObjectChanged):
        reader.pixels(str(tmp_path / "shard.tar#1024"))
    with pytest.raises(ObjectChanged):
        reader.pixels(str(tmp_path / "shard.parquet#25"))
    with pytest.raises(ImageError):
        reader.pixels(str(tmp_path / "broken.jpg"))
