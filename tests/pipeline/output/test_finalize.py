"""Tables from unit files: every image once, and no table from books that do not balance."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.made_up_output import FINGERPRINT, STORAGE, MadeUpOutput
from support.rows import result_of, some_poses

from pipeline.inputs.units import LoadedImage
from pipeline.output.finalize import tables_are_current
from pipeline.output.publish import publish
from pipeline.output.schema import unit_table
from pipeline.output.writer import writing
from posrefine.errors import ConfigurationError, ImageStatus, InvariantBroken, ShardError


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(persons=st.lists(st.none() | st.integers(0, 3), min_size=1, max_size=9), table_units=st.integers(1, 6))
def test_tables_hold_every_image_and_person_once(
    tmp_path_factory: pytest.TempPathFactory, persons: list[int | None], table_units: int
):
    output = MadeUpOutput(tmp_path_factory.mktemp("run"), len(persons), table_units)
    output.write_all(persons)

    counts = output.finalize()

    assert (counts.images, counts.ok) == (len(persons), sum(p is not None for p in persons))
    assert counts.images == counts.ok + sum(counts.failed.values())
    assert counts.people.counted + counts.people.below == sum(p or 0 for p in persons)
    scores = duckdb.sql(f"select score from read_parquet('{output.tree.root}/tables/persons/*.parquet')")
    assert counts.persons == sum(score >= 0.5 for (score,) in scores.fetchall())
    tables = f"{output.tree.root}/tables"
    images = duckdb.sql(f"select image_key, person_count from read_parquet('{tables}/images/*.parquet')")
    assert images.fetchall() == [(f"{index:03d}.jpg", p or 0) for index, p in enumerate(persons)]
    rows = duckdb.sql(f"select image_key, person from read_parquet('{tables}/persons/*.parquet')").fetchall()
    assert rows == [(f"{index:03d}.jpg", k) for index, p in enumerate(persons) for k in range(p or 0)]


def test_a_file_holds_a_group_and_the_same_rows_when_written_again(tmp_path: Path):
    output = MadeUpOutput(tmp_path, 9, table_units=2)
    output.write_all([1] * 9)
    counts = output.finalize()
    assert [(group.first_unit, group.units) for group in counts.groups] == [
        ("u00000000", 2), ("u00000002", 2), ("u00000004", 1),
    ]  # fmt: skip

    def contents() -> list[bytes]:
        tables = [STORAGE.list(output.tree.table_folder(name)) for name in ("images", "persons")]
        return [STORAGE.read_bytes(found.uri) for table in tables for found in table if "part-" in found.uri]

    before = contents()
    assert len(before) == 6
    STORAGE.delete(output.tree.success)
    again = output.finalize()
    assert [(group.images, group.units_digest) for group in again.groups] == [
        (group.images, group.units_digest) for group in counts.groups
    ]
    assert contents() == before


def test_finished_tables_are_not_touched_again(tmp_path: Path):
    output = MadeUpOutput(tmp_path, 3, table_units=2)
    output.write_all([1, 2, None])
    counts = output.finalize()
    before = etags(output)
    assert output.finalize() == counts == output.output.counts()
    assert etags(output) == before


def etags(output: MadeUpOutput) -> dict[str, str]:
    """Of all objects but the lease."""
    found = {info.uri.removeprefix(output.tree.root): info.etag for info in STORAGE.list(output.tree.root)}
    return {uri: etag for uri, etag in found.items() if uri != "/lock.json"}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    """What was written, and what is gone, without the random part of its name."""
    names = {uri for uri, _ in before.items() ^ after.items()}
    return {re.sub(r"-[0-9a-f]{12}\.", ".", uri) for uri in names}


def test_units_written_since_have_the_files_of_their_groups_made_anew_and_no_others(tmp_path: Path):
    output = MadeUpOutput(tmp_path, 12, table_units=2)
    output.write_all([1] * 12)
    output.finalize()
    third = list(output.manifest.units())[2]
    output.write_unit(third, [2, 0])
    before = etags(output)

    counts = output.finalize()

    assert counts.persons + counts.persons_below == 12
    assert changed(before, etags(output)) == {
        "/tables/images/part-g0001-00001.parquet", "/tables/persons/part-g0001-00001.parquet",
        "/tables/images/_delta_log/00000000000000000001.json",
        "/tables/persons/_delta_log/00000000000000000001.json", "/tables/_SUCCESS.json",
    }  # fmt: skip
    assert [group.persons + group.persons_below for group in counts.groups] == [4, 4, 4]
    assert counts == output.output.counts()


def test_table_files_that_a_late_writer_left_or_wrote_over_are_found_out(tmp_path: Path):
    output = MadeUpOutput(tmp_path, 6, table_units=1)
    output.write_all([1, None, 1, 1, 1, 1])
    first = output.finalize().groups[0]
    old = STORAGE.read_bytes(output.tree.table("images", first.file))
    output.write_unit(next(output.manifest.units()), [1, 2])
    second = output.finalize().groups[0]
    assert second.file != first.file
    assert tables_are_current(output.output, output.record)

    for file in (first.file, second.file):
        STORAGE.put(output.tree.table("images", file), old)
        assert not tables_are_current(output.output, output.record)
        counts = output.finalize()
        assert counts.ok == 6
        assert tables_are_current(output.output, output.record)
        glob = f"{output.tree.table_folder('images')}/*.parquet"
        rows = duckdb.sql(f"select count(*) from read_parquet('{glob}') where status = 'ok'").fetchall()
        assert rows == [(6,)]


def test_a_commit_that_a_late_writer_put_into_a_log_is_found_out_and_undone(tmp_path: Path):
    output = MadeUpOutput(tmp_path, 6, table_units=1)
    output.write_all([1, None, 1, 1, 1, 1])
    output.finalize()
    with writing(output.output, 60) as writer:
        publish(writer, output.record, "persons", (), 1)
    assert not tables_are_current(output.output, output.record)
    counts = output.finalize()
    assert (counts.images_version, counts.persons_version) == (0, 2)
    assert DeltaTable(output.tree.table_folder("persons")).to_pyarrow_table().num_rows == 5


def test_tables_whose_units_were_deleted_are_finished_all_the_same(tmp_path: Path):
    output = MadeUpOutput(tmp_path, 4, table_units=1)
    output.write_all([1] * 4)
    counts = output.finalize()
    shutil.rmtree(output.tree.units)
    assert tables_are_current(output.output, output.record)
    assert output.finalize() == counts


def test_a_run_with_units_missing_gets_no_tables(tmp_path: Path):
    output = MadeUpOutput(tmp_path, 5, table_units=2)
    output.write_unit(next(output.manifest.units()), [1, 1])
    with pytest.raises(ConfigurationError, match="2 of 3 units are not finished"):
        output.finalize()
    assert output.output.counts() is None


def test_a_unit_that_lost_an_image_is_never_passed_over(tmp_path: Path):
    output = MadeUpOutput(tmp_path, 4, table_units=2)
    output.write_all([1, 1, 1, 1])
    output.write_unit(next(output.manifest.units()), [1, 1], leave_out=1)
    with pytest.raises(InvariantBroken, match="u00000000: rows and manifest name different images"):
        output.finalize()


def test_a_unit_that_holds_an_image_twice_is_never_passed_over(tmp_path: Path):
    output = MadeUpOutput(tmp_path, 2, table_units=2)
    (unit,) = output.manifest.units()
    entry = unit.objects[0]
    image = LoadedImage(entry.key, entry.uri, ImageStatus.OK)
    rows = unit_table(unit.unit_id, [result_of(image, some_poses(1, 1))] * 2)
    output.put_rows(unit.unit_id, rows)
    with pytest.raises(InvariantBroken, match="2 rows for 1 images"):
        output.finalize()


def test_a_unit_that_is_not_in_the_manifest_is_never_passed_over(tmp_path: Path):
    output = MadeUpOutput(tmp_path, 2, table_units=2)
    output.write_all([1, 1])
    output.put_rows("u99999999", unit_table("u99999999", []))
    with pytest.raises(InvariantBroken, match="u99999999"):
        output.finalize()


@pytest.mark.parametrize("change", [{"fingerprint": {"scales": (0.5, 1.0)}}, {"manifest_digest": "another"}])
def test_a_unit_of_another_run_is_never_passed_over(tmp_path: Path, change: dict[str, Any]):
    output = MadeUpOutput(tmp_path, 4, table_units=2)
    output.write_all([1, 1, 1, 1])
    unit = next(output.manifest.units())
    fingerprint = FINGERPRINT.model_copy(update=change.pop("fingerprint", {}))
    other = output.record.model_copy(update={"fingerprint": fingerprint, **change})
    rows = [result_of(LoadedImage(ref.key, ref.uri, ImageStatus.OK), None) for ref in unit.objects]
    output.put_rows(unit.unit_id, unit_table(unit.unit_id, rows), other)
    with pytest.raises(
        ShardError, match=r"u00000000\.parquet: is of another run .*delete it and `run` again"
    ):
        output.finalize()
    assert output.output.counts() is None
