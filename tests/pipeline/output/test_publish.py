"""The tables are Delta tables: others read them by their log, whole, and as they were."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import polars
import pytest
from deltalake import DeltaTable
from support.rows import result, some_poses

from pipeline.output.counts import GroupCounts, TableCounts
from pipeline.output.parquet import encode_table
from pipeline.output.publish import SCHEMAS, clean_tables, forget_logs, publish
from pipeline.output.record import Fingerprint, NetworkIdentity, RunRecord
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import as_found, images_table, persons_table, unit_table
from pipeline.output.writer import OutputWriter, writing
from pipeline.settings.run import RunSettings
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, ImageStatus, OutputLocked, ShardError

STORAGE = Storage()
IDENTITY = NetworkIdentity("5" * 64, None, "official", 64)


@dataclass
class Tables:
    """The tables of an output, published generation by generation from made-up rows."""

    output: RunOutput
    record: RunRecord
    groups: list[GroupCounts] = field(default_factory=list)

    @contextmanager
    def writer(self) -> Iterator[OutputWriter]:
        with writing(self.output, 60) as writer:
            yield writer

    def group(self, writer: OutputWriter, generation: int, keys: Sequence[int]) -> GroupCounts:
        """Files of a group with these images, of which each has as many persons as its number."""
        rows = unit_table("u0", [result(key, some_poses(key, key)) for key in keys])
        file = self.output.tree.new_table_file(generation, 0)
        metadata = self.record.table_metadata().encode()
        data = {
            "images": encode_table(images_table(as_found(rows)), metadata),
            "persons": encode_table(persons_table(as_found(rows)), metadata),
        }
        etags = {
            name: writer.output.storage.create(self.output.tree.table(name, file), data[name])
            for name in data
        }
        return GroupCounts(
            generation=generation, group=0, file=file, first_unit="u0", last_unit="u0", units=1,
            images={ImageStatus.OK: len(keys)}, objects=0, left_out=0,
            persons=sum(keys), persons_below=0, broken_shards=0, units_digest="0",
            images_etag=etags["images"], persons_etag=etags["persons"],
            images_bytes=len(data["images"]), persons_bytes=len(data["persons"]),
        )  # fmt: skip

    def publish(self, writer: OutputWriter, generation: int) -> dict[str, int]:
        versions = {name: publish(writer, self.record, name, self.groups, generation) for name in SCHEMAS}
        writer.success(
            TableCounts(
                generation=generation,
                images_version=versions["images"],
                persons_version=versions["persons"],
                manifest_digest="",
                units=1,
                images=0,
                ok=0,
                failed={},
                min_score=0,
                persons=0,
                persons_below=0,
                broken_shards=0,
                left_out=0,
                groups=tuple(self.groups),
            )
        )
        return versions

    def keys(self, as_of: int | None = None) -> list[str]:
        rows = RunOutput(STORAGE, self.output.tree, as_of).rows()
        assert sum(len(image.poses or ()) for image in rows.images()) == sum(
            int(image.image_key[:-4]) for image in rows.images()
        )
        return sorted(image.image_key for image in rows.images())


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    settings = RunSettings(input="/in", output="/out", model="m", weights="w.safetensors")
    record = RunRecord(
        fingerprint=Fingerprint.of(settings, IDENTITY, None), manifest_digest="d" * 64, units=1, images=1,
        input_bytes=0, table_units=1, settings={}, weights="w.safetensors", code_version="1",
        created_at=datetime.now(UTC),
    )  # fmt: skip
    return Tables(RunOutput.at(str(tmp_path / "out"), STORAGE), record)


def names(*keys: int) -> list[str]:
    return [f"{key}.jpg" for key in sorted(keys)]


def test_delta_readers_see_each_generation_whole_and_what_the_table_is(tables: Tables):
    with tables.writer() as writer:
        tables.groups = [tables.group(writer, 1, [1, 2])]
        tables.publish(writer, 1)
        tables.groups.append(tables.group(writer, 2, [3]))
        assert tables.publish(writer, 2) == {"images": 1, "persons": 1}
    folder = tables.output.tree.table_folder("images")
    delta = DeltaTable(folder)
    assert delta.transaction_version("posrefine") == 2
    assert sorted(delta.to_pyarrow_table()["image_key"].to_pylist()) == names(1, 2, 3)
    assert sorted(DeltaTable(folder, version=0).to_pyarrow_table()["image_key"].to_pylist()) == names(1, 2)
    history = delta.history(1)[0]
    assert (history["weights"], history["model"], history["weights_sha256"]) == (
        "w.safetensors",
        "m",
        "5" * 64,
    )
    assert delta.metadata().configuration["posrefine.skeleton"] == "coco"
    persons = polars.scan_delta(tables.output.tree.table_folder("persons")).collect()
    assert persons["image_key"].value_counts().sort("image_key").rows() == [
        ("1.jpg", 1), ("2.jpg", 2), ("3.jpg", 3),
    ]  # fmt: skip
    assert persons["keypoints"].list.len().unique().to_list() == [34]


def test_what_a_generation_replaces_can_still_be_read_and_no_glob_finds_it(tables: Tables):
    with tables.writer() as writer:
        tables.groups = [tables.group(writer, 1, [1, 2]), tables.group(writer, 1, [3])]
        tables.publish(writer, 1)
        before = DeltaTable(tables.output.tree.table_folder("images"))
        tables.groups[0] = tables.group(writer, 1, [1])
        assert tables.publish(writer, 2) == {"images": 1, "persons": 1}
        tables.groups.append(tables.group(writer, 3, [7]))
        tables.publish(writer, 3)
        tables.groups[1] = tables.group(writer, 1, [])
        tables.publish(writer, 4)
        assert before.to_pyarrow_table().num_rows == 3, "who opened the table before still reads it"
        assert clean_tables(writer, 0) == 4
        assert clean_tables(writer, 0) == 0
    glob = f"{tables.output.tree.table_folder('images')}/*.parquet"
    assert sorted(polars.read_parquet(glob)["image_key"].to_list()) == names(1, 7)
    assert tables.keys() == tables.keys(4) == names(1, 7)
    assert (tables.keys(3), tables.keys(2), tables.keys(1)) == (names(1, 3, 7), names(1, 3), names(1, 2, 3))
    with pytest.raises(ConfigurationError, match=r"no generation 5; the last one is 4"):
        tables.keys(5)
    (kept,) = (path for path in tables.output.log("persons").as_of(2) if path.startswith("_replaced/"))
    STORAGE.delete(f"{tables.output.tree.table_folder('persons')}/{kept}")
    with pytest.raises(ConfigurationError, match=r"2 cannot be read, as part-.* is gone; it has 4 "):
        tables.output.log("persons").as_of(2)


def test_replaced_files_wait_for_their_time(tables: Tables):
    slept: list[float] = []
    with tables.writer() as writer:
        tables.groups = [tables.group(writer, 1, [1])]
        tables.publish(writer, 1)
        tables.groups = [tables.group(writer, 1, [2])]
        tables.publish(writer, 1)
        litter = tables.group(writer, 1, [5])
        clean_tables(writer, 100, slept.append)
    assert len([pause for pause in slept if pause > 0]) == 2
    assert all(90 < pause <= 100 for pause in slept)
    assert not STORAGE.exists(tables.output.tree.table("images", litter.file))


def test_publishing_again_commits_nothing(tables: Tables):
    with tables.writer() as writer:
        tables.groups = [tables.group(writer, 1, [1])]
        assert tables.publish(writer, 1) == tables.publish(writer, 1) == {"images": 0, "persons": 0}
        tables.groups = []
        assert tables.publish(writer, 2) == tables.publish(writer, 2) == {"images": 1, "persons": 1}
    assert DeltaTable(tables.output.tree.table_folder("images")).to_pyarrow_table().num_rows == 0
    assert tables.keys(1) == names(1)


def test_logs_are_made_anew_from_the_files_alone(tables: Tables):
    with tables.writer() as writer:
        tables.groups = [tables.group(writer, 1, [1, 2])]
        tables.publish(writer, 1)
        tables.groups = [tables.group(writer, 1, [1])]
        tables.publish(writer, 2)
        forget_logs(writer)
        assert tables.publish(writer, 2) == {"images": 0, "persons": 0}
        clean_tables(writer, 0)
    assert DeltaTable(tables.output.tree.table_folder("images")).to_pyarrow_table().num_rows == 1
    assert len(list(STORAGE.list(tables.output.tree.table_folder("images")))) == 2


def test_of_two_that_commit_the_same_version_one_wins(tables: Tables):
    with tables.writer() as writer:
        tables.groups = [tables.group(writer, 1, [1])]
        tables.publish(writer, 1)
        uri = tables.output.log("images").commit_uri(1)
        STORAGE.put(uri, b'{"txn":{"appId":"posrefine","version":1}}\n')
        with pytest.raises(OutputLocked, match="written by another process"):
            writer.commit(uri, b"another")


def test_a_log_that_lost_a_version_is_not_read_as_another_table(tables: Tables):
    with tables.writer() as writer:
        tables.groups = [tables.group(writer, 1, [1])]
        tables.publish(writer, 1)
        tables.groups.append(tables.group(writer, 2, [2]))
        tables.publish(writer, 2)
    STORAGE.delete(tables.output.log("images").commit_uri(0))
    with pytest.raises(ShardError, match="version 0 is missing"):
        tables.output.log("images").snapshot()


def test_after_many_generations_readers_start_from_a_checkpoint(tables: Tables):
    with tables.writer() as writer:
        for generation in range(1, 36):
            tables.groups = [*tables.groups[-2:], tables.group(writer, generation, [generation])]
            tables.publish(writer, generation)
        log = tables.output.log("images")
        before = log.snapshot()
        assert STORAGE.exists(log.checkpoint_uri(31))
        assert tables.keys(3) == names(1, 2, 3)
        # Whoever reads these is told by what happens now.
        for version in range(31):
            STORAGE.delete(log.commit_uri(version))
        assert log.snapshot() == before
        assert clean_tables(writer, 0) == 2 * 32
    delta = DeltaTable(log.folder)
    assert sorted(delta.to_pyarrow_table()["image_key"].to_pylist()) == names(33, 34, 35)
    assert delta.transaction_version("posrefine") == 35
    assert delta.metadata().configuration["posrefine.skeleton"] == "coco"
    assert sorted(polars.scan_delta(log.folder).collect()["image_key"].to_list()) == names(33, 34, 35)
