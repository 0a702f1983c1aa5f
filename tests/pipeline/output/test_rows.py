"""Reading a run's rows back gives what its commit was given."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from support.rows import result, some_poses
from support.runs import UNTRAINED, metadata_of, write_run

from pipeline.output.counts import GroupCounts, TableCounts
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import ImageResult
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, ImageStatus, ShardError
from posrefine.poses import Poses

UNITS = (
    [result(0, some_poses(3, 0)), result(1, None), result(2, some_poses(0, 2))],
    [result(3, some_poses(2, 3, one_view=True)), result(4, some_poses(1, 4))],
    [result(5, some_poses(0, 5))],
)


def assert_same(found: ImageResult, wanted: ImageResult) -> None:
    for field in fields(ImageResult):
        if field.name != "poses":
            assert getattr(found, field.name) == getattr(wanted, field.name), field.name
    assert (found.poses is None) == (wanted.poses is None)
    if found.poses is not None and wanted.poses is not None:
        for field in fields(Poses):
            np.testing.assert_array_equal(
                getattr(found.poses, field.name), getattr(wanted.poses, field.name), err_msg=field.name
            )


@pytest.mark.parametrize("as_tables", [False, True])
def test_units_and_tables_give_every_image_as_it_was_committed(tmp_path: Path, as_tables: bool):
    rows = RunOutput.at(write_run(tmp_path, UNITS, as_tables=as_tables), Storage()).rows()
    found, wanted = list(rows.images()), [image for unit in UNITS for image in unit]
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert_same(one, other)


def test_a_table_of_many_persons_is_cut_at_the_right_places(tmp_path: Path):
    unit = [result(number, some_poses(number % 13, number)) for number in range(3000)]
    rows = RunOutput.at(write_run(tmp_path, [unit], as_tables=True), Storage()).rows()
    for one, other in zip(rows.images(), unit, strict=True):
        assert_same(one, other)


def test_finished_tables_are_read_instead_of_the_many_unit_files(tmp_path: Path):
    write_run(tmp_path, UNITS)
    assert len(RunOutput.at(str(tmp_path), Storage()).rows().files) == 3
    write_run(tmp_path, [[image for unit in UNITS for image in unit]], as_tables=True)
    assert len(RunOutput.at(str(tmp_path), Storage()).rows().files) == 3, "the tables are not finished yet"
    group = GroupCounts(
        generation=1, group=0, file="part-g0001-00000-0.parquet", first_unit="", last_unit="", units=3,
        images={}, objects=0, left_out=0, persons=0, persons_below=0, broken_shards=0, units_digest="",
        images_etag="", persons_etag="",
        images_bytes=0, persons_bytes=0,
    )  # fmt: skip
    counts = TableCounts(
        generation=1, images_version=0, persons_version=0, manifest_digest="", units=3, images=6, ok=5,
        failed={}, min_score=0, persons=0, persons_below=0, broken_shards=0, left_out=0, groups=(group,),
    )  # fmt: skip
    (tmp_path / "tables" / "_SUCCESS.json").write_text(counts.model_dump_json())
    rows = RunOutput.at(str(tmp_path), Storage()).rows()
    assert len(rows.files) == 1
    assert len(list(rows.images())) == 6


def test_persons_that_do_not_belong_to_the_images_are_noticed(tmp_path: Path):
    output = write_run(tmp_path, UNITS, as_tables=True)
    persons = tmp_path / "tables" / "persons"
    first, second, third = sorted(persons.iterdir())
    first.replace(second)
    third.rename(first)
    with pytest.raises(ShardError, match="finalize the run again"):
        list(RunOutput.at(output, Storage()).rows().images())


def test_what_the_files_say_about_themselves_is_there(tmp_path: Path):
    rows = RunOutput.at(write_run(tmp_path, UNITS, metadata_of(note=UNTRAINED)), Storage()).rows()
    assert rows.skeleton.name == "coco"
    assert (rows.model, rows.weights) == ("dekr_w32", "mmpose:dekr_w32_coco")
    assert rows.settings["exif"] == "apply"
    assert rows.note == UNTRAINED


def test_chosen_columns_come_without_the_persons(tmp_path: Path):
    rows = RunOutput.at(write_run(tmp_path, UNITS), Storage()).rows()
    tables = list(rows.columns(["status"]))
    statuses = [status for table in tables for status in table["status"].to_pylist()]
    assert statuses.count(ImageStatus.CORRUPT) == 1
    assert tables[0].column_names == ["status"]


def test_a_sample_takes_whole_files_from_the_first_to_the_last(tmp_path: Path):
    units = [[result(number, some_poses(1, number))] for number in range(20)]
    rows = RunOutput.at(write_run(tmp_path, units), Storage()).rows()
    sample = rows.sample(5 * 128)
    assert len(sample.files) == 5
    assert (sample.files[0], sample.files[-1]) == (rows.files[0], rows.files[-1])
    assert rows.sample(10**9) is rows


def test_a_place_without_a_run_is_refused_by_name(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="no units"):
        RunOutput.at(str(tmp_path), Storage()).rows()
