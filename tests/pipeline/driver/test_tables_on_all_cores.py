"""Tables of many groups are written in Ray tasks, and are those that one process writes."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from support.made_up_output import MadeUpOutput

from pipeline.driver.table_tasks import on_all_cores
from posrefine.errors import ShardError

GROUPS = 9


@pytest.fixture
def _ray():
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def finished(folder: Path) -> MadeUpOutput:
    """Units of two images, of which two make a group."""
    folder.mkdir()
    output = MadeUpOutput(folder, images=4 * GROUPS, table_units=2)
    output.write_all([index % 4 or None for index in range(4 * GROUPS)])
    return output


def rows(output: MadeUpOutput, table: str) -> pa.Table:
    files = sorted(Path(output.tree.root, "tables", table).glob("*.parquet"))
    assert len(files) == GROUPS
    return pa.concat_tables(pq.read_table(file, use_threads=False) for file in files)


@pytest.mark.usefixtures("_ray")
def test_tasks_write_the_rows_that_one_process_writes(tmp_path: Path):
    alone, together = finished(tmp_path / "alone"), finished(tmp_path / "together")

    counts, same = alone.finalize(), together.finalize(on_all_cores)

    assert (same.images, same.failed, same.persons) == (counts.images, counts.failed, counts.persons)
    assert [group.units for group in same.groups] == [group.units for group in counts.groups]
    for name in ("images", "persons"):
        one, other = rows(alone, name), rows(together, name)
        places = [column for column in one.column_names if "uri" in column]
        assert one.drop_columns(places).equals(other.drop_columns(places))


@pytest.mark.usefixtures("_ray")
def test_a_damaged_unit_is_named_from_a_task_as_from_this_process(tmp_path: Path):
    output = finished(tmp_path / "run")
    Path(output.tree.unit(next(iter(output.manifest.units())).unit_id)).write_bytes(b"cut")

    with pytest.raises(ShardError, match="units/"):
        output.finalize(on_all_cores)
    assert output.output.counts() is None


def test_a_cluster_whose_workers_are_all_gone_is_not_waited_for(tmp_path: Path):
    output = finished(tmp_path / "run")
    ray.init("local", num_cpus=0, include_dashboard=False, log_to_driver=False)
    try:
        assert output.finalize(on_all_cores).images == 4 * GROUPS
    finally:
        ray.shutdown()


def test_few_groups_start_no_ray(tmp_path: Path):
    output = finished(tmp_path / "run")

    assert output.finalize(on_all_cores).images == 4 * GROUPS
    assert not ray.is_initialized()
