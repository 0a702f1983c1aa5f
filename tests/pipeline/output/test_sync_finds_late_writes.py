"""What a writer that had lost its lease left after all was complete, the next sync finds and puts right."""

from __future__ import annotations

from pathlib import Path

import pytest
from deltalake import DeltaTable
from support.standing import Standing, persons_in, picture

from pipeline.output.finalize import tables_are_current
from pipeline.output.publish import publish
from pipeline.output.writer import OutputWriter
from pipeline.storage import Storage


@pytest.fixture
def standing(tmp_path: Path) -> Standing:
    """Six images, in two groups of the tables."""
    (tmp_path / "in").mkdir()
    for number in range(6):
        (tmp_path / "in" / f"{number}.png").write_bytes(picture(number))
    found = Standing(Storage(), str(tmp_path / "in"), str(tmp_path / "out"))
    found.sync()
    return found


def is_current(standing: Standing) -> bool:
    record = standing.output.require_record()
    return tables_are_current(standing.output, record, standing.output.finished_generations(record)[1:])


def files_of(standing: Standing, table: str) -> list[Path]:
    return sorted(Path(standing.output.tree.table_folder(table)).glob("*.parquet"))


def require_true_tables(standing: Standing) -> None:
    """By their log and by the names of their files, the tables hold the input as it is, and nothing else."""
    files = sorted(Path(standing.input).iterdir())
    assert standing.rows() == [(str(path), "ok", persons_in(path.read_bytes())) for path in files]
    for name, rows in (("images", len(files)), ("persons", sum(row[2] for row in standing.rows()))):
        delta = DeltaTable(standing.output.tree.table_folder(name))
        assert delta.to_pyarrow_table().num_rows == rows
        assert sorted(Path(uri) for uri in delta.file_uris()) == files_of(standing, name)
    assert is_current(standing)


@pytest.mark.parametrize("table", ["images", "persons"])
def test_an_old_file_of_a_table_is_taken_away_or_made_anew(standing: Standing, table: str):
    old = {path: path.read_bytes() for path in files_of(standing, table)}
    Path(standing.input, "0.png").write_bytes(picture(40))
    standing.sync()
    path, content = next((path, content) for path, content in old.items() if not path.exists())
    now = next(path for path in files_of(standing, table) if path not in old)
    for left in (path, now):
        left.write_bytes(content)
        assert not is_current(standing)
        assert standing.sync().message.startswith("nothing new")
        require_true_tables(standing)


@pytest.mark.parametrize("table", ["images", "persons"])
def test_a_commit_of_older_files_is_undone_by_another_one(standing: Standing, table: str):
    before = standing.output.counts()
    assert before is not None
    Path(standing.input, "0.png").write_bytes(picture(40))
    standing.sync()
    with standing.writer() as lock:
        writer = OutputWriter(standing.output, lock)
        publish(writer, standing.output.require_record(), table, before.groups, before.generation)
    assert not is_current(standing)
    assert standing.sync().message.startswith("nothing new")
    require_true_tables(standing)


def test_counts_of_an_older_generation_are_made_those_of_the_last_one(standing: Standing):
    success = Path(standing.output.tree.success)
    old = success.read_bytes()
    Path(standing.input, "0.png").write_bytes(picture(40))
    standing.sync()
    success.write_bytes(old)
    assert standing.sync().message.startswith("generation 2: 0 new, 1 stale, 0 orphaned")
    require_true_tables(standing)
