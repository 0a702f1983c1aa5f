"""Tables from unit files: every image once, and no table from books that do not balance."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.rows import result_of, some_poses

from pipeline.commit import encode_table
from pipeline.finalize import TableCounts, finalize, read_table_counts
from pipeline.layout import OutputTree
from pipeline.manifest import Manifest, write_manifest
from pipeline.planner import PlanOptions
from pipeline.record import Fingerprint, RunRecord
from pipeline.schema import unit_table
from pipeline.storage import Storage
from pipeline.units import LoadedImage, Unit
from posrefine.errors import ConfigurationError, ImageStatus, InvariantBroken

STORAGE = Storage()
FINGERPRINT = Fingerprint(
    schema_version=1, input="/in", unit_images=2, unit_bytes=1, split_tars=True, image_column=None,
    key_column=None, annotations_sha256=None, model="m", skeleton="coco", weights_sha256="0",
    score_weights_sha256=None, protocol="official", input_size=64, scales=(1.0,), flip=True,
    nms_threshold=None, precision="float32", exif="apply", max_pixels=1, max_image_bytes=1,
)  # fmt: skip


class Output:
    """An output whose units hold made-up rows for the files of a folder."""

    def __init__(self, folder: Path, images: int, table_units: int) -> None:
        given = folder / "in"
        given.mkdir()
        for index in range(images):
            (given / f"{index:03d}.jpg").write_bytes(b"x")
        self.tree = OutputTree.at(str(folder / "out"))
        options = PlanOptions(unit_images=2)
        self.manifest: Manifest = write_manifest(str(given), self.tree.manifest, STORAGE, options)
        self.record = RunRecord(
            fingerprint=FINGERPRINT, manifest_digest=self.manifest.summary.digest,
            units=self.manifest.summary.units,
            images=images, input_bytes=0, table_units=table_units, settings={},
            weights="w", code_version="1", created_at=datetime.now(UTC),
        )  # fmt: skip

    def write_unit(self, unit: Unit, persons: list[int | None], *, leave_out: int = 0) -> None:
        results = []
        for entry, count in zip(unit.objects, persons, strict=True):
            status = ImageStatus.CORRUPT if count is None else ImageStatus.OK
            image = LoadedImage(entry.key, entry.uri, status)
            results.append(result_of(image, None if count is None else some_poses(count, count)))
        rows = unit_table(unit.unit_id, results[leave_out:])
        STORAGE.put(self.tree.unit(unit.unit_id), encode_table(rows, {}))

    def write_all(self, persons: list[int | None]) -> None:
        rest = list(persons)
        for unit in self.manifest.units():
            self.write_unit(unit, [rest.pop(0) for _ in unit.objects])

    def finalize(self) -> TableCounts:
        return finalize(STORAGE, self.tree, self.record, self.manifest)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(persons=st.lists(st.none() | st.integers(0, 3), min_size=1, max_size=9), table_units=st.integers(1, 6))
def test_tables_hold_every_image_and_person_once(
    tmp_path_factory: pytest.TempPathFactory, persons: list[int | None], table_units: int
):
    output = Output(tmp_path_factory.mktemp("run"), len(persons), table_units)
    output.write_all(persons)

    counts = output.finalize()

    assert (counts.images, counts.ok) == (len(persons), sum(p is not None for p in persons))
    assert counts.images == counts.ok + sum(counts.failed.values())
    assert counts.persons == sum(p or 0 for p in persons)
    tables = f"{output.tree.root}/tables"
    images = duckdb.sql(f"select image_key, person_count from read_parquet('{tables}/images/*.parquet')")
    assert images.fetchall() == [(f"{index:03d}.jpg", p or 0) for index, p in enumerate(persons)]
    rows = duckdb.sql(f"select image_key, person from read_parquet('{tables}/persons/*.parquet')").fetchall()
    assert rows == [(f"{index:03d}.jpg", k) for index, p in enumerate(persons) for k in range(p or 0)]


def test_file_i_holds_group_i_and_is_the_same_when_written_again(tmp_path: Path):
    output = Output(tmp_path, 9, table_units=2)
    output.write_all([1] * 9)
    counts = output.finalize()
    assert [(group.first_unit, group.units) for group in counts.groups] == [
        ("u00000000", 2), ("u00000002", 2), ("u00000004", 1),
    ]  # fmt: skip
    before = {
        found.uri: STORAGE.read_bytes(found.uri) for found in STORAGE.list(f"{output.tree.root}/tables")
    }
    STORAGE.delete(output.tree.success)
    assert output.finalize() == counts
    assert {uri: STORAGE.read_bytes(uri) for uri in before} == before


def test_finished_tables_are_not_touched_again(tmp_path: Path):
    output = Output(tmp_path, 3, table_units=2)
    output.write_all([1, 2, None])
    counts = output.finalize()
    before = {found.uri: found.etag for found in STORAGE.list(output.tree.root)}
    assert output.finalize() == counts == read_table_counts(STORAGE, output.tree)
    assert {found.uri: found.etag for found in STORAGE.list(output.tree.root)} == before


def test_a_run_with_units_missing_gets_no_tables(tmp_path: Path):
    output = Output(tmp_path, 5, table_units=2)
    output.write_unit(next(output.manifest.units()), [1, 1])
    with pytest.raises(ConfigurationError, match="2 of 3 units are not finished"):
        output.finalize()
    assert read_table_counts(STORAGE, output.tree) is None


def test_a_unit_that_lost_an_image_is_never_passed_over(tmp_path: Path):
    output = Output(tmp_path, 4, table_units=2)
    output.write_all([1, 1, 1, 1])
    output.write_unit(next(output.manifest.units()), [1, 1], leave_out=1)
    with pytest.raises(InvariantBroken, match="u00000000: rows and manifest name different images"):
        output.finalize()


def test_a_unit_that_holds_an_image_twice_is_never_passed_over(tmp_path: Path):
    output = Output(tmp_path, 2, table_units=2)
    (unit,) = output.manifest.units()
    entry = unit.objects[0]
    image = LoadedImage(entry.key, entry.uri, ImageStatus.OK)
    rows = unit_table(unit.unit_id, [result_of(image, some_poses(1, 1))] * 2)
    STORAGE.put(output.tree.unit(unit.unit_id), encode_table(rows, {}))
    with pytest.raises(InvariantBroken, match="2 rows for 1 images"):
        output.finalize()


def test_a_unit_that_is_not_in_the_manifest_is_never_passed_over(tmp_path: Path):
    output = Output(tmp_path, 2, table_units=2)
    output.write_all([1, 1])
    STORAGE.put(output.tree.unit("u99999999"), encode_table(unit_table("u99999999", []), {}))
    with pytest.raises(InvariantBroken, match="u99999999"):
        output.finalize()
