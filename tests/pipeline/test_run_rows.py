"""Reading a run's rows back gives what its commit was given."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from support.rows import result, some_poses
from support.runs import UNTRAINED, metadata_of, write_run

from pipeline.run_rows import open_run_rows
from pipeline.schema import ImageResult
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, ImageStatus, ShardError
from posrefine.inference.poses import Poses

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
    rows = open_run_rows(write_run(tmp_path, UNITS, as_tables=as_tables), Storage())
    found, wanted = list(rows.images(Storage())), [image for unit in UNITS for image in unit]
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        assert_same(one, other)


def test_a_table_of_many_persons_is_cut_at_the_right_places(tmp_path: Path):
    unit = [result(number, some_poses(number % 13, number)) for number in range(3000)]
    rows = open_run_rows(write_run(tmp_path, [unit], as_tables=True), Storage())
    for one, other in zip(rows.images(Storage()), unit, strict=True):
        assert_same(one, other)


def test_finished_tables_are_read_instead_of_the_many_unit_files(tmp_path: Path):
    write_run(tmp_path, UNITS)
    assert len(open_run_rows(str(tmp_path), Storage()).files) == 3
    write_run(tmp_path, [[image for unit in UNITS for image in unit]], as_tables=True)
    assert len(open_run_rows(str(tmp_path), Storage()).files) == 3, "the tables are not finished yet"
    (tmp_path / "tables" / "_SUCCESS.json").write_text("{}")
    rows = open_run_rows(str(tmp_path), Storage())
    assert len(rows.files) == 1
    assert len(list(rows.images(Storage()))) == 6


def test_persons_that_do_not_belong_to_the_images_are_noticed(tmp_path: Path):
    output = write_run(tmp_path, UNITS, as_tables=True)
    persons = tmp_path / "tables" / "persons"
    (persons / "part-00000.parquet").replace(persons / "part-00001.parquet")
    (persons / "part-00002.parquet").rename(persons / "part-00000.parquet")
    with pytest.raises(ShardError, match="finalize the run again"):
        list(open_run_rows(output, Storage()).images(Storage()))


def test_what_the_files_say_about_themselves_is_there(tmp_path: Path):
    rows = open_run_rows(write_run(tmp_path, UNITS, metadata_of(note=UNTRAINED)), Storage())
    assert rows.skeleton.name == "coco"
    assert (rows.model, rows.weights) == ("dekr_w32", "mmpose:dekr_w32_coco")
    assert rows.settings["exif"] == "apply"
    assert rows.note == UNTRAINED


def test_chosen_columns_come_without_the_persons(tmp_path: Path):
    rows = open_run_rows(write_run(tmp_path, UNITS), Storage())
    tables = list(rows.columns(Storage(), ["status"]))
    statuses = [status for table in tables for status in table["status"].to_pylist()]
    assert statuses.count(ImageStatus.CORRUPT) == 1
    assert tables[0].column_names == ["status"]


def test_a_sample_takes_whole_files_from_the_first_to_the_last(tmp_path: Path):
    units = [[result(number, some_poses(1, number))] for number in range(20)]
    rows = open_run_rows(write_run(tmp_path, units), Storage())
    sample = rows.sample(5 * 128)
    assert len(sample.files) == 5
    assert (sample.files[0], sample.files[-1]) == (rows.files[0], rows.files[-1])
    assert rows.sample(10**9) is rows


def test_a_place_without_a_run_is_refused_by_name(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="no units"):
        open_run_rows(str(tmp_path), Storage())
