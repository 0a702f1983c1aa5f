"""Units become loaded images, also where their shard is broken or decoding kills."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from support.images import encode, gradient
from support.shards import make_parquet, make_tar

from pipeline.inputs.cutting import cut_into_units
from pipeline.inputs.load import given_up_unit, is_broken_shard, load_unit
from pipeline.inputs.readers import ReadOptions
from pipeline.storage import Storage
from posrefine.errors import ImageError, ImageStatus

STORAGE = Storage()
JPEG = encode(gradient())
IMAGES = {f"{index}.jpg": JPEG for index in range(4)}


def statuses(path: Path, options: ReadOptions = ReadOptions()) -> list[str]:  # noqa: B008 - frozen
    units = list(cut_into_units(str(path), STORAGE))
    return [image.status.value for unit in units for image in load_unit(unit, STORAGE, options)]


def test_a_whole_tar_gives_its_images(tmp_path: Path):
    (tmp_path / "a.tar").write_bytes(make_tar(IMAGES))
    assert statuses(tmp_path) == ["ok"] * 4


def test_a_tar_without_its_end_keeps_its_images_and_says_that_some_may_be_missing(tmp_path: Path):
    whole = make_tar(IMAGES)
    member_bytes = 512 + (len(JPEG) + 511) // 512 * 512
    (tmp_path / "a.tar").write_bytes(whole[: 2 * member_bytes])
    (unit,) = cut_into_units(str(tmp_path), STORAGE)
    images = load_unit(unit, STORAGE, ReadOptions())
    assert [image.status.value for image in images] == ["ok", "ok", "corrupt"]
    assert [is_broken_shard(unit, image.uri) for image in images] == [False, False, True]
    assert "a.tar" in (images[-1].error or "")


def test_a_shard_that_was_replaced_or_removed_since_planning_is_one_failed_row(tmp_path: Path):
    path = tmp_path / "a.parquet"
    path.write_bytes(make_parquet(IMAGES))
    (unit,) = cut_into_units(str(tmp_path), STORAGE)
    path.write_bytes(make_parquet(dict(list(IMAGES.items())[:2])))
    (image,) = load_unit(unit, STORAGE, ReadOptions())
    assert image.status is ImageStatus.CHANGED
    assert is_broken_shard(unit, image.uri)
    path.unlink()
    (image,) = load_unit(unit, STORAGE, ReadOptions())
    assert image.status is ImageStatus.MISSING


def test_an_image_that_its_guard_refuses_is_not_decoded_and_its_neighbours_are(tmp_path: Path):
    (tmp_path / "a.tar").write_bytes(make_tar(IMAGES))
    (unit,) = cut_into_units(str(tmp_path), STORAGE)
    asked: list[str] = []

    @contextmanager
    def guard(uri: str) -> Iterator[None]:
        asked.append(uri)
        if len(asked) == 2:
            raise ImageError(ImageStatus.WORKER_DIED, "it killed")
        yield

    images = load_unit(unit, STORAGE, replace(ReadOptions(), guard=guard))
    assert [image.status.value for image in images] == ["ok", "worker_died", "ok", "ok"]
    assert asked == [image.uri for image in images]


def test_a_unit_that_is_given_up_keeps_a_row_for_every_image_that_is_known(tmp_path: Path):
    for name, data in IMAGES.items():
        (tmp_path / name).write_bytes(data)
    (unit,) = cut_into_units(str(tmp_path), STORAGE)
    images = given_up_unit(unit)
    assert [image.image_key for image in images] == list(IMAGES)
    assert {image.status for image in images} == {ImageStatus.WORKER_DIED}
