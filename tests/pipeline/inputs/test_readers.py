from __future__ import annotations

import io
import tarfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.images import encode, gradient
from support.shards import make_parquet, make_tar
from support.shared import shared_path

from pipeline.images.gate import ImageLimits
from pipeline.inputs import parquet_rows, row_groups
from pipeline.inputs.manifest import CutOptions, cut_into_units
from pipeline.inputs.readers import ReadOptions, iter_unit
from pipeline.inputs.units import LoadedImage, Unit
from pipeline.storage import Storage, StorageOptions, forget_clients
from posrefine.errors import (
    ConfigurationError,
    ImageStatus,
    ObjectChanged,
    ObjectMissing,
    ShardError,
    StorageError,
)

STORAGE = Storage()


def photo(number: int) -> bytes:
    return encode(gradient(20 + number, 16))


PHOTOS = {f"{number:03d}.jpg": photo(number) for number in range(12)}


def fill(folder: Path, files: dict[str, bytes]) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return str(folder)


def plan(uri: str, **options: object) -> list[Unit]:
    return list(cut_into_units(uri, STORAGE, CutOptions(**options)))


def read(units: list[Unit], options: ReadOptions = ReadOptions()) -> list[LoadedImage]:  # noqa: B008
    return [image for unit in units for image in iter_unit(unit, STORAGE, options)]


def seen(images: list[LoadedImage]) -> list[tuple[str, str | None, ImageStatus]]:
    return [(image.image_key, image.sha256, image.status) for image in images]


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path):
    """Stores files as one input of each kind of store."""
    if request.param == "local":
        return lambda files: fill(tmp_path / "in", files)
    bucket = request.getfixturevalue("s3_bucket")

    def write(files: dict[str, bytes]) -> str:
        for name, data in files.items():
            bucket.write(f"in/{name}", data)
        return f"{bucket.uri}/in"

    return write


def test_real_photos_are_the_same_from_a_folder_a_tar_and_a_parquet_file(place):
    folder = shared_path("data", "coco67", "images")
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    expected = read(plan(str(folder)))
    place(files | {"z.tar": make_tar(files)})
    images = read(plan(place({"z.parquet": make_parquet(files)}), unit_bytes=2**20, unit_images=25))
    assert len(images) == 3 * len(expected) == 3 * 67
    by_source: dict[str, list[LoadedImage]] = {".jpg": [], ".tar": [], ".parquet": []}
    for image in images:
        by_source[Path(image.uri.partition("#")[0]).suffix].append(image)
    for found in by_source.values():
        assert seen(found) == seen(expected)
        for image, wanted in zip(found, expected, strict=True):
            assert image.status is ImageStatus.OK
            assert (image.width, image.height) == (wanted.width, wanted.height)
            assert (image.pixels == wanted.pixels).all()
    assert len({image.uri for image in images}) == len(images)


def test_a_bad_image_fails_alone_and_keeps_its_place(place):
    files = PHOTOS | {"003.jpg": b"<html>", "005.jpg": b"", "007.jpg": PHOTOS["007.jpg"][:300]}
    images = read(plan(place(files), unit_images=5))
    assert [image.image_key for image in images] == sorted(files)
    statuses = {image.image_key: image.status for image in images if image.status is not ImageStatus.OK}
    assert statuses == {
        "003.jpg": ImageStatus.UNSUPPORTED,
        "005.jpg": ImageStatus.TRUNCATED,
        "007.jpg": ImageStatus.TRUNCATED,
    }
    assert all((image.pixels is None) == (image.error is not None) for image in images)
    assert all(image.sha256 for image in images)


def test_an_object_that_went_away_or_was_replaced_since_planning_is_a_row(tmp_path):
    units = plan(fill(tmp_path, PHOTOS))
    (tmp_path / "002.jpg").unlink()
    (tmp_path / "004.jpg").write_bytes(photo(50))
    statuses = {image.image_key: image.status for image in read(units)}
    assert Counter(statuses.values()) == {ImageStatus.OK: 10, ImageStatus.MISSING: 1, ImageStatus.CHANGED: 1}
    assert statuses["002.jpg"] is ImageStatus.MISSING
    assert statuses["004.jpg"] is ImageStatus.CHANGED


def test_an_s3_object_that_went_away_or_was_replaced_since_planning_is_a_row(s3_bucket):
    for name, data in PHOTOS.items():
        s3_bucket.write(f"in/{name}", data)
    units = plan(f"{s3_bucket.uri}/in")
    s3_bucket.client.delete_object(Bucket=s3_bucket.name, Key="in/002.jpg")
    s3_bucket.write("in/004.jpg", photo(50))
    statuses = {image.image_key: image.status for image in read(units)}
    assert statuses["002.jpg"] is ImageStatus.MISSING
    assert statuses["004.jpg"] is ImageStatus.CHANGED
    assert list(statuses.values()).count(ImageStatus.OK) == 10


def test_a_store_that_is_down_is_never_an_image_failure(s3_bucket, monkeypatch):
    for name, data in PHOTOS.items():
        s3_bucket.write(f"in/{name}", data)
    units = plan(f"{s3_bucket.uri}/in")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget_clients()
    storage = Storage(StorageOptions(deadline_s=1.0, attempts=1))
    with pytest.raises(StorageError) as caught:
        list(iter_unit(units[0], storage))
    assert type(caught.value) is StorageError


def test_large_images_are_refused_before_they_are_fetched(place):
    uri = place(
        PHOTOS | {"big.jpg": bytes(5000), "t.tar": make_tar({"big.jpg": bytes(5000), "a.jpg": photo(1)})}
    )
    images = read(plan(uri), ReadOptions(limits=ImageLimits(max_encoded_bytes=4000)))
    large = [image for image in images if image.status is ImageStatus.TOO_LARGE]
    assert [image.image_key for image in large] == ["big.jpg", "big.jpg"]
    assert all(image.sha256 is None and "4000" in str(image.error) for image in large)
    assert len(images) == 15


def test_an_image_of_too_many_pixels_tells_its_size(tmp_path):
    (image,) = read(
        plan(fill(tmp_path, {"a.png": encode(gradient(48, 32), "PNG")})),
        ReadOptions(limits=ImageLimits(max_pixels=100)),
    )
    assert (image.status, image.width, image.height) == (ImageStatus.TOO_LARGE, 48, 32)


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tar_gives_each_image_once_whatever_its_format_and_units(place, tar_format):
    files = {f"{'long/' * 30}{name}": data for name, data in PHOTOS.items()}
    sidecars = {name.replace(".jpg", ".json"): b"{}" for name in files}
    uri = place({"a.tar": make_tar(dict(sorted((files | sidecars).items())), tar_format)})
    skipped: Counter[str] = Counter()
    images = [
        image
        for unit in plan(uri, unit_bytes=3000)
        for image in iter_unit(unit, STORAGE, ReadOptions(), skipped)
    ]
    assert [image.image_key for image in images] == sorted(files)
    assert all(image.status is ImageStatus.OK for image in images)
    assert skipped == {".json": 12}


def test_the_address_of_a_tar_member_is_where_its_header_begins(tmp_path):
    uri = fill(tmp_path, {"a.tar": make_tar(PHOTOS, tarfile.PAX_FORMAT)})
    with tarfile.open(tmp_path / "a.tar") as tar:
        expected = [f"{uri}/a.tar#{entry.offset}" for entry in tar]
    assert [image.uri for image in read(plan(uri))] == expected


def test_links_of_a_tar_are_counted_and_directories_are_not(tmp_path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, kind in (("d", tarfile.DIRTYPE), ("s.jpg", tarfile.SYMTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type = kind
            tar.addfile(entry)
    skipped: Counter[str] = Counter()
    (unit,) = plan(fill(tmp_path, {"a.tar": file.getvalue()}))
    assert list(iter_unit(unit, STORAGE, ReadOptions(), skipped)) == []
    assert skipped == {"<link>": 1}


def test_a_tar_cut_inside_an_image_gives_that_image_as_truncated(tmp_path):
    tar = make_tar(PHOTOS)
    images = read(plan(fill(tmp_path, {"a.tar": tar[: tar.index(PHOTOS["011.jpg"]) + 100]})))
    assert [image.status for image in images] == [ImageStatus.OK] * 11 + [ImageStatus.TRUNCATED]
    assert "after 100 of" in str(images[-1].error)


def test_a_tar_cut_inside_something_else_is_a_broken_shard(tmp_path):
    tar = make_tar(PHOTOS | {"z.json": bytes(3000)})
    with pytest.raises(ShardError, match=r"z\.json"):
        read(plan(fill(tmp_path, {"a.tar": tar[: tar.index(b"z.json") + 700]})))


def test_a_tar_cut_between_two_members_is_a_broken_shard(tmp_path):
    tar = make_tar(PHOTOS)
    with pytest.raises(ShardError, match="end-of-archive mark"):
        read(plan(fill(tmp_path, {"a.tar": tar[: tar.index(b"011.jpg")]})))


def test_a_sparse_member_is_an_unsupported_image(tmp_path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        entry = tarfile.TarInfo("a.jpg")
        entry.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
        tar.addfile(entry)
    (image,) = read(plan(fill(tmp_path, {"a.tar": file.getvalue()})))
    assert image.status is ImageStatus.UNSUPPORTED


@pytest.mark.parametrize("name", ["a.tar", "a.parquet"])
def test_a_shard_that_was_replaced_or_removed_stops_the_unit(tmp_path, name):
    data = {"a.tar": make_tar(PHOTOS), "a.parquet": make_parquet(PHOTOS)}[name]
    (unit,) = plan(fill(tmp_path, {name: data}))
    (tmp_path / name).write_bytes(data + bytes(512))
    with pytest.raises(ObjectChanged):
        read([unit])
    (tmp_path / name).unlink()
    with pytest.raises(ObjectMissing):
        read([unit])


def test_rows_without_a_key_are_known_by_their_number(tmp_path):
    file = io.BytesIO()
    pq.write_table(pa.table({"jpg": list(PHOTOS.values())}), file, row_group_size=5)
    images = read(plan(fill(tmp_path, {"a.parquet": file.getvalue()}), unit_images=5))
    assert [image.image_key for image in images] == [f"a.parquet#{row}" for row in range(12)]
    assert [image.uri for image in images] == [f"{tmp_path}/a.parquet#{row}" for row in range(12)]


def test_a_key_column_names_the_images_and_can_be_chosen(tmp_path):
    file = io.BytesIO()
    columns = {"jpg": [photo(0), photo(1)], "id": [7, 8], "title": ["x", "y"]}
    pq.write_table(pa.table(columns), file)
    units = plan(fill(tmp_path, {"a.parquet": file.getvalue()}))
    assert [image.image_key for image in read(units)] == ["7", "8"]
    assert [image.image_key for image in read(units, ReadOptions(key_column="title"))] == ["x", "y"]
    with pytest.raises(ConfigurationError, match="no key column 'nope'"):
        read(units, ReadOptions(key_column="nope"))


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.large_binary(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.dictionary(pa.int32(), pa.large_string()),
    ],
    ids=str,
)
def test_a_key_is_the_same_whatever_type_holds_it(tmp_path, kind):
    keys = pa.array(["n0.jpg", "é.jpg"])
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        keys = pa.array([key.encode() for key in keys.to_pylist()])
    file = io.BytesIO()
    pq.write_table(pa.table({"jpg": [photo(0), photo(1)], "key": keys.cast(kind)}), file)
    units = plan(fill(tmp_path, {"a.parquet": file.getvalue()}))
    assert [image.image_key for image in read(units)] == ["n0.jpg", "é.jpg"]


def test_two_key_columns_of_one_name_are_a_broken_shard(tmp_path):
    file = io.BytesIO()
    columns = [pa.array([photo(0)]), pa.array(["a"]), pa.array(["b"])]
    pq.write_table(pa.Table.from_arrays(columns, names=["jpg", "key", "key"]), file)
    with pytest.raises(ShardError, match="2 columns named 'key'"):
        read(plan(fill(tmp_path, {"a.parquet": file.getvalue()})))


def test_an_image_column_can_be_chosen(tmp_path):
    file = io.BytesIO()
    pq.write_table(pa.table({"left": [photo(0)], "right": [photo(1)]}), file)
    units = plan(fill(tmp_path, {"a.parquet": file.getvalue()}), image_column="right")
    assert [image.width for image in read(units, ReadOptions(image_column="right"))] == [21]


def test_a_row_without_bytes_is_a_missing_image(tmp_path):
    units = plan(fill(tmp_path, {"a.parquet": make_parquet({"a.jpg": photo(0), "b.jpg": None})}))
    assert seen(read(units))[1] == ("b.jpg", None, ImageStatus.MISSING)


def test_rows_larger_than_the_limit_are_refused_and_their_bytes_are_not_kept(tmp_path):
    units = plan(fill(tmp_path, {"a.parquet": make_parquet({"a.jpg": photo(0), "big.jpg": bytes(5000)})}))
    options = ReadOptions(limits=ImageLimits(max_encoded_bytes=4000), decoded_bytes=-1)
    small, large = read(units, options)
    assert (small.status, small.encoded) == (ImageStatus.OK, photo(0))
    assert (large.status, large.encoded, large.sha256) == (ImageStatus.TOO_LARGE, None, None)
    assert large.error == "5000 encoded bytes; the limit is 4000"


def repeated_photo(rows: int, size_bytes: int) -> bytes:
    """A Parquet file of one row group, in which a dictionary gives all rows the same photograph."""
    padded = photo(0) + bytes(size_bytes - len(photo(0)))
    return make_parquet({f"{row:03d}.jpg": padded for row in range(rows)}, rows)


def test_a_photograph_that_a_dictionary_repeats_is_kept_a_bounded_number_of_times(tmp_path):
    data = repeated_photo(64, 2**20)
    assert len(data) < 100_000
    options = ReadOptions(decoded_bytes=0, encoded_bytes=4 * 2**20)
    images = read(plan(fill(tmp_path, {"a.parquet": data})), options)
    assert len({image.uri for image in images}) == 64
    assert Counter(image.status for image in images) == {ImageStatus.OK: 4, ImageStatus.TOO_LARGE: 60}
    assert sum(len(image.encoded or b"") for image in images) == 4 * 2**20
    assert "--unit-images" in str(images[-1].error)


def test_photographs_that_differ_are_all_kept_however_large_their_unit_is(tmp_path):
    photographs = {f"{number}.jpg": photo(number) + bytes([number]) * 2**16 for number in range(12)}
    units = plan(fill(tmp_path, {"a.parquet": make_parquet(photographs, 12)}))
    images = read(units, ReadOptions(decoded_bytes=0, encoded_bytes=2**17))
    assert [image.status for image in images] == [ImageStatus.OK] * 12
    assert all(image.encoded for image in images)


def test_what_fits_in_decoded_is_not_bounded_by_its_encoded_bytes(tmp_path):
    units = plan(fill(tmp_path, {"a.parquet": repeated_photo(8, 2**16)}))
    images = read(units, ReadOptions(encoded_bytes=0))
    assert [image.status for image in images] == [ImageStatus.OK] * 8


def test_rows_that_a_dictionary_repeats_are_read_a_few_at_a_time(tmp_path, monkeypatch, batch_bytes):
    monkeypatch.setattr(parquet_rows, "_BATCH_BYTES", 4 * 2**20)
    units = plan(fill(tmp_path, {"a.parquet": repeated_photo(64, 2**20)}), unit_images=16)
    assert len(read(units)) == 64
    assert max(batch_bytes) < 5 * 2**20


def test_a_row_group_that_repeats_a_photograph_without_end_is_a_broken_shard(
    tmp_path, monkeypatch, batch_bytes
):
    monkeypatch.setattr(parquet_rows, "_MOST_BYTES_OF_A_GROUP", 40 * 2**20)
    *_, last = plan(fill(tmp_path, {"a.parquet": repeated_photo(200, 2**20)}), unit_images=10)
    with pytest.raises(
        ShardError, match="row group 0 repeats its values, to over 41,943,040 bytes by its row"
    ):
        read([last])
    assert sum(batch_bytes) < 120 * 2**20


def test_row_groups_are_counted_once_a_unit_and_those_without_rows_are_not_opened(
    tmp_path, monkeypatch, batch_bytes
):
    columns = pa.schema([("image", pa.binary())])
    with pq.ParquetWriter(tmp_path / "a.parquet", columns) as file:
        for number in range(300):
            file.write_table(pa.table({"image": [photo(0)] * (number % 100 == 99)}, columns))
    (unit,) = plan(str(tmp_path))
    looked_at: list[int] = []
    look_at = row_groups._row_group
    monkeypatch.setattr(
        row_groups,
        "_row_group",
        lambda footer, index, uri: looked_at.append(index) or look_at(footer, index, uri),
    )
    images = read([replace(unit, row_groups=tuple(range(300)))])
    assert [image.uri for image in images] == [f"{tmp_path}/a.parquet#{row}" for row in range(3)]
    assert looked_at == list(range(300))
    assert len(batch_bytes) == 3


def test_overwritten_pages_of_a_parquet_file_are_a_broken_shard(tmp_path):
    data = bytearray(make_parquet(PHOTOS))
    data[4:200] = bytes(196)
    units = plan(fill(tmp_path, {"a.parquet": bytes(data)}))
    with pytest.raises(ShardError, match="row group 0"):
        read(units)


def test_keys_that_are_no_text_are_a_broken_shard(tmp_path):
    keys = pa.array([b"a.jpg", b"\xff\xfe"], pa.binary()).view(pa.string())
    file = io.BytesIO()
    pq.write_table(pa.table({"image": pa.array(list(PHOTOS.values())[:2], pa.binary()), "key": keys}), file)
    with pytest.raises(ShardError, match="row group 0 cannot be read"):
        read(plan(fill(tmp_path, {"a.parquet": file.getvalue()})))
