"""How an input is cut into units: each image in one of them, none too large, and what is no input counted."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.inputs import PHOTO, fill, photos
from support.shards import make_parquet, make_tar

from pipeline.inputs import row_groups
from pipeline.inputs.load import load_unit
from pipeline.inputs.manifest import CutOptions, cut_into_units, write_manifest
from pipeline.inputs.readers import ReadOptions
from pipeline.inputs.units import Unit, UnitKind
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, ImageStatus

STORAGE = Storage()


def keys_of(units: list[Unit]) -> list[str]:
    return [entry.key for unit in units for entry in unit.objects]


def test_photos_are_packed_in_key_order_and_each_is_planned_once(tmp_path):
    units = list(cut_into_units(fill(tmp_path, photos(10)), STORAGE, CutOptions(unit_images=4)))
    assert [len(unit.objects) for unit in units] == [4, 4, 2]
    assert [unit.image_count for unit in units] == [4, 4, 2]
    assert keys_of(units) == sorted(photos(10))
    assert [unit.unit_id for unit in units] == ["u00000000", "u00000001", "u00000002"]


def test_a_unit_of_photos_is_bounded_in_bytes_as_well(tmp_path):
    units = list(cut_into_units(fill(tmp_path, photos(5)), STORAGE, CutOptions(unit_bytes=2 * len(PHOTO))))
    assert [len(unit.objects) for unit in units] == [2, 2, 1]


def test_a_photo_larger_than_a_unit_gets_one_for_itself(tmp_path):
    units = list(cut_into_units(fill(tmp_path, photos(2)), STORAGE, CutOptions(unit_bytes=1)))
    assert [len(unit.objects) for unit in units] == [1, 1]


def test_a_tar_is_cut_into_ranges_that_cover_it(tmp_path):
    tar = make_tar(photos(20))
    units = list(cut_into_units(fill(tmp_path, {"a.tar": tar}), STORAGE, CutOptions(unit_bytes=10_000)))
    assert [unit.start_byte for unit in units] == list(range(0, len(tar), 10_000))
    assert [unit.end_byte for unit in units] == [*range(10_000, len(tar), 10_000), len(tar)]
    assert {unit.shard_size_bytes for unit in units} == {len(tar)}


def test_a_tar_can_be_kept_whole(tmp_path):
    options = CutOptions(unit_bytes=1000, split_tars=False)
    (unit,) = cut_into_units(fill(tmp_path, {"a.tar": make_tar(photos(20))}), STORAGE, options)
    assert unit.end_byte == unit.shard_size_bytes


def test_an_empty_tar_is_planned_so_that_reading_reports_it(tmp_path):
    (unit,) = cut_into_units(fill(tmp_path, {"a.tar": b""}), STORAGE)
    assert (unit.start_byte, unit.end_byte) == (0, 0)


def test_row_groups_are_packed_by_their_rows(tmp_path):
    uri = fill(tmp_path, {"a.parquet": make_parquet(photos(50), rows_per_group=10)})
    units = list(cut_into_units(uri, STORAGE, CutOptions(unit_images=25)))
    assert [unit.row_groups for unit in units] == [(0, 1), (2, 3), (4,)]
    assert [unit.image_count for unit in units] == [20, 20, 10]


def test_a_mixed_prefix_is_planned_by_suffix_and_the_rest_is_counted(tmp_path):
    files = {
        "a/x.JPG": PHOTO,
        "b.tar": make_tar(photos(1)),
        "c.parquet": make_parquet(photos(1)),
        "d.png": PHOTO,
    }
    uri = fill(tmp_path, files | {"readme.txt": b"", "LICENSE": b"", "e.tar.gz": b"", "labels.txt": b""})
    skipped: Counter[str] = Counter()
    units = list(cut_into_units(uri, STORAGE, skipped=skipped))
    assert sorted(unit.kind for unit in units) == [UnitKind.OBJECTS, UnitKind.PARQUET, UnitKind.TAR]
    assert keys_of(units) == ["a/x.JPG", "d.png"]
    assert skipped == {".txt": 2, "": 1, ".gz": 1}


@pytest.mark.parametrize("name", ["one.jpg", "one.tar", "one.parquet"])
def test_a_single_object_is_an_input(tmp_path, name):
    data = {".jpg": PHOTO, ".tar": make_tar(photos(1)), ".parquet": make_parquet(photos(1))}[
        Path(name).suffix
    ]
    fill(tmp_path, {name: data, "neighbour.jpg": PHOTO})
    (unit,) = cut_into_units(str(tmp_path / name), STORAGE)
    assert keys_of([unit]) == ([name] if name == "one.jpg" else [])


def test_a_folder_may_be_named_like_a_shard(tmp_path):
    units = list(cut_into_units(fill(tmp_path / "photos.tar", photos(2)), STORAGE))
    assert keys_of(units) == ["00000.jpg", "00001.jpg"]


@pytest.mark.parametrize("files", [{}, {"a.tar.gz": b"x", "b.txt": b""}])
def test_an_input_without_anything_to_read_says_what_was_looked_for_and_found(tmp_path, files):
    expected = "no object below it" if not files else "1 .gz, 1 .txt"
    with pytest.raises(ConfigurationError, match=rf"\.jpg.*\.tar, \.parquet.*{expected}"):
        write_manifest(fill(tmp_path, files), str(tmp_path / "out/m.parquet"), STORAGE)


def test_of_a_single_file_with_another_suffix_it_is_said_what_a_single_file_must_have(tmp_path):
    uri = fill(tmp_path, {"notes.txt": b"words"}) + "/notes.txt"
    with pytest.raises(
        ConfigurationError,
        match="no object below it; check the address, of a folder or of one file with such",
    ):
        list(cut_into_units(uri, STORAGE))


def parquet(**columns: object) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


def test_an_input_of_parquet_files_without_images_says_which_columns_they_have(tmp_path):
    uri = fill(tmp_path, {"a.parquet": parquet(caption=["a"])})
    with pytest.raises(
        ConfigurationError, match=r"1 \.parquet without images.*caption string.*--image-column"
    ):
        list(cut_into_units(uri, STORAGE))


def test_the_output_of_img2dataset_is_its_tars(tmp_path):
    metadata = parquet(url=["https://a/1"], key=["000000000"], status=["success"], sha256=["00"])
    files = {"00000.tar": make_tar(photos(1)), "00000.parquet": metadata, "00000_stats.json": b"{}"}
    skipped: Counter[str] = Counter()
    (unit,) = cut_into_units(fill(tmp_path, files), STORAGE, skipped=skipped)
    assert unit.kind is UnitKind.TAR
    assert skipped == {".parquet without images": 1, ".json": 1}
    with pytest.raises(ConfigurationError, match="column 'jpg'"):
        list(cut_into_units(str(tmp_path), STORAGE, CutOptions(image_column="jpg")))


@pytest.mark.parametrize("data", [b"", b"PAR1 not really PAR1", make_parquet({"a.jpg": PHOTO})[:-9]])
def test_an_empty_or_cut_parquet_file_among_good_input_is_planned_so_that_reading_reports_it(tmp_path, data):
    uri = fill(tmp_path, {"a.jpg": PHOTO, "b.parquet": data, "c.parquet": make_parquet(photos(1))})
    units = list(cut_into_units(uri, STORAGE))
    assert [(unit.uri[len(uri) :], unit.image_count) for unit in units] == [
        ("/b.parquet", 0),
        ("/c.parquet", 1),
        ("", 1),
    ]


def test_two_columns_of_one_name_are_a_broken_shard(tmp_path):
    file = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([pa.array([PHOTO])] * 2, names=["image", "image"]), file)
    (unit,) = cut_into_units(fill(tmp_path, {"a.parquet": file.getvalue()}), STORAGE)
    (row,) = load_unit(unit, STORAGE, ReadOptions())
    assert row.status is ImageStatus.CORRUPT
    assert "2 columns named 'image'" in str(row.error)


def test_a_parquet_file_without_rows_is_counted(tmp_path):
    skipped: Counter[str] = Counter()
    uri = fill(tmp_path, {"a.parquet": make_parquet({}), "a.jpg": PHOTO})
    assert len(list(cut_into_units(uri, STORAGE, skipped=skipped))) == 1
    assert skipped == {".parquet without rows": 1}


def test_a_large_row_group_is_cut_by_rows(tmp_path):
    files = {"a.parquet": make_parquet(photos(10) | {"x.jpg": None}, rows_per_group=7)}
    units = list(cut_into_units(fill(tmp_path, files), STORAGE, CutOptions(unit_images=3)))
    assert [(unit.row_groups, unit.start_row, unit.end_row, unit.image_count) for unit in units] == [
        ((0,), 0, 3, 3),
        ((0,), 3, 6, 3),
        ((0,), 6, 7, 1),
        ((1,), 0, 2, 2),
        ((1,), 2, 4, 2),
    ]
    rows = [image for unit in units for image in load_unit(unit, STORAGE, ReadOptions())]
    assert [row.image_key for row in rows] == [*photos(10), "x.jpg"]
    assert [row.uri for row in rows] == [f"{tmp_path}/a.parquet#{row}" for row in range(11)]
    assert [row.status.value for row in rows] == ["ok"] * 10 + ["missing"]


def test_a_row_group_of_many_bytes_is_cut_by_rows(tmp_path):
    images = {f"{number}.jpg": bytes([number]) * 1000 for number in range(4)}
    options = CutOptions(unit_bytes=260)
    units = list(cut_into_units(fill(tmp_path, {"a.parquet": make_parquet(images)}), STORAGE, options))
    assert [(unit.start_row, unit.end_row) for unit in units] == [(0, 2), (2, 4)]


def test_ten_million_rows_without_images_are_bounded_units(tmp_path):
    nulls = pa.table({"image": pa.nulls(10_000_000, pa.binary())})
    pq.write_table(nulls, tmp_path / "a.parquet", row_group_size=10_000_000)
    assert (tmp_path / "a.parquet").stat().st_size < 100_000
    units = list(cut_into_units(str(tmp_path), STORAGE))
    assert sum(unit.image_count or 0 for unit in units) == 10_000_000
    assert max(unit.image_count or 0 for unit in units) <= 16_384
    assert [unit.start_row for unit in units[1:]] == [unit.end_row for unit in units[:-1]]


def of_nulls(path: Path, rows: int, rows_of_a_group: int) -> None:
    nulls = pa.table({"image": pa.nulls(rows, pa.binary())})
    pq.write_table(nulls, path, row_group_size=rows_of_a_group)


def test_a_row_group_of_more_rows_than_anybody_writes_is_a_broken_shard(tmp_path):
    of_nulls(tmp_path / "a.parquet", 2**24 + 1, 2**25)
    (unit,) = cut_into_units(str(tmp_path), STORAGE)
    assert unit.row_groups == ()
    (row,) = load_unit(unit, STORAGE, ReadOptions())
    assert row.status is ImageStatus.CORRUPT
    assert "row group 0 has 16,777,217 rows" in str(row.error)


def test_rows_without_end_in_row_groups_of_a_usual_size_are_a_broken_shard(tmp_path, monkeypatch):
    monkeypatch.setattr(row_groups, "_MOST_ROWS_OF_A_GROUP", 100_000)
    of_nulls(tmp_path / "a.parquet", 5_000_000, 100_000)
    (unit,) = cut_into_units(str(tmp_path), STORAGE)
    (row,) = load_unit(unit, STORAGE, ReadOptions())
    assert row.status is ImageStatus.CORRUPT
    assert "claims 5,000,000 rows in" in str(row.error)


def test_row_groups_without_rows_are_in_no_unit(tmp_path):
    columns = pa.schema([("image", pa.binary())])
    with pq.ParquetWriter(tmp_path / "a.parquet", columns) as file:
        for number in range(60):
            file.write_table(pa.table({"image": [PHOTO] * (number % 20 == 0)}, columns))
    (unit,) = cut_into_units(str(tmp_path), STORAGE)
    assert unit.row_groups == (0, 20, 40)
    assert unit.image_count == 3


def test_a_bucket_is_planned_like_a_folder(tmp_path, s3_bucket):
    files = photos(6) | {"b.tar": make_tar(photos(2)), "c.parquet": make_parquet(photos(2))}
    fill(tmp_path, files)
    for name, data in files.items():
        s3_bucket.write(f"in/{name}", data)
    local = list(cut_into_units(str(tmp_path), STORAGE))
    remote = list(cut_into_units(f"{s3_bucket.uri}/in", STORAGE))
    assert keys_of(remote) == keys_of(local)
    assert [(unit.kind, unit.size_bytes, unit.row_groups) for unit in remote] == [
        (unit.kind, unit.size_bytes, unit.row_groups) for unit in local
    ]
    assert remote[-1].objects[0].uri == f"{s3_bucket.uri}/in/00000.jpg"
