from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.rows import result, some_poses
from support.standing import Standing, picture

from jobs.annotate import main
from pipeline.output.layout import OutputTree
from pipeline.output.lease import Lease
from pipeline.output.outcome import Outcome
from pipeline.output.record import Fingerprint, RunRecord
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import unit_table
from pipeline.output.status import RunStatus, StatusSummary, read_status
from pipeline.output.status_text import status_lines
from pipeline.output.unit_footer import encode_unit
from pipeline.storage import ObjectInfo, Storage
from posrefine.errors import ImageStatus
from posrefine.score_floor import SCORE_FLOOR

START = datetime(2026, 1, 1, tzinfo=UTC)
FINGERPRINT = Fingerprint(
    schema_version=1,
    input="/images",
    split_tars=True,
    include=(),
    exclude=(),
    image_column=None,
    key_column=None,
    annotations_sha256=None,
    model="posrefine_tiny",
    skeleton="coco",
    weights_sha256="00",
    score_weights_sha256=None,
    protocol="posrefine",
    input_size=64,
    scales=(1.0,),
    flip=True,
    nms_threshold=None,
    precision="float32",
    exif="apply",
    decode_smaller=True,
    max_pixels=1,
    max_image_bytes=1,
)


def record_of(units: int, **changes: Any) -> RunRecord:
    return RunRecord(
        fingerprint=FINGERPRINT.model_copy(update=changes),
        manifest_digest="00",
        units=units,
        images=2 * units,
        skipped={".json": 2},
        input_bytes=1,
        table_units=512,
        settings={},
        weights="w.safetensors",
        code_version="0",
        created_at=START,
    )


def begin(output: Path, units: int) -> OutputTree:
    tree = OutputTree.at(str(output))
    Storage().put(tree.run, record_of(units).encode())
    return tree


def commit(tree: OutputTree, number: int, at_s: float, record: RunRecord | None = None) -> None:
    """A unit of one good image and one bad, committed so many seconds after the start."""
    unit_id = f"u{number:08d}"
    rows = unit_table(unit_id, [result(2 * number, some_poses(1, number)), result(2 * number + 1, None)])
    put_unit(tree, number, rows, at_s, record)


def put_unit(
    tree: OutputTree, number: int, rows: pa.Table, at_s: float, record: RunRecord | None = None
) -> None:
    when, record = START + timedelta(seconds=at_s), record or record_of(10)
    metadata = record.table_metadata().encode()
    data = encode_unit(rows, metadata, min_score=record.min_score, committed_at=when)
    Storage().put(tree.unit(f"u{number:08d}"), data)


class CountingStorage(Storage):
    """Knows which bytes of which object were asked for."""

    read: ClassVar[Counter[str]] = Counter()

    def read_bytes(self, uri: str, etag: str | None = None) -> bytes:
        data = super().read_bytes(uri, etag)
        self.read[uri] += len(data)
        return data

    def read_range(self, uri: str, start: int, end: int, etag: str | None = None) -> bytes:
        self.read[uri] += end - start
        return super().read_range(uri, start, end, etag)


def test_of_a_units_file_its_end_is_read_and_no_row(tmp_path: Path):
    tree = begin(tmp_path / "out", units=4)
    for number in range(4):
        rows = unit_table(f"u{number:08d}", [result(index, some_poses(30, index)) for index in range(128)])
        put_unit(tree, number, rows, at_s=10 * number)
    sizes = {info.uri: info.size_bytes for info in Storage().list(tree.units)}
    CountingStorage.read.clear()
    status = read_status(RunOutput(CountingStorage(), tree))
    assert (status.units_done, status.images, status.working_s) == (4, {ImageStatus.OK: 512}, 30)
    assert status.people.counted + status.people.below == 512 * 30
    read = {uri: CountingStorage.read[uri] for uri in sizes}
    assert all(size > 1_000_000 for size in sizes.values())
    assert all(0 < count <= 2**14 for count in read.values())


def test_a_footer_that_is_longer_than_was_guessed_is_read_whole(tmp_path: Path):
    tree = begin(tmp_path / "out", units=1)
    record = record_of(10).model_copy(update={"note": "n" * 100_000})
    commit(tree, 0, 5, record)
    status, _ = status_of(tree)
    assert (status.units_done, status.damaged) == (1, ())


class ReplacedMeanwhile(Storage):
    """Between listing and reading a unit its failed images are tried again, or it is removed."""

    meanwhile: ClassVar[list[Callable[[], None]]] = []

    def read_range(self, uri: str, start: int, end: int, etag: str | None = None) -> bytes:
        while self.meanwhile:
            self.meanwhile.pop()()
        return super().read_range(uri, start, end, etag)


def test_a_unit_that_is_written_anew_while_it_is_read_counts_as_it_is_then(tmp_path: Path):
    tree = begin(tmp_path / "out", units=10)
    commit(tree, 0, 5)
    fixed = unit_table("u00000000", [result(0, some_poses(1, 0)), result(1, some_poses(2, 1))])
    ReplacedMeanwhile.meanwhile.append(lambda: put_unit(tree, 0, fixed, at_s=15))
    assert read_status(RunOutput(ReplacedMeanwhile(), tree)).images == {ImageStatus.OK: 2}


def test_a_unit_that_is_removed_while_it_is_read_is_none(tmp_path: Path):
    tree = begin(tmp_path / "out", units=10)
    commit(tree, 0, 5)
    ReplacedMeanwhile.meanwhile.append(lambda: Storage().delete(tree.unit("u00000000")))
    status = read_status(RunOutput(ReplacedMeanwhile(), tree))
    assert (status.units_done, status.damaged) == (0, ())


def status_of(tree: OutputTree) -> tuple[RunStatus, dict[str, str]]:
    status = read_status(RunOutput(Storage(), tree))
    lines = status_lines(status, START + timedelta(seconds=100))
    return status, dict(line.split(maxsplit=1) for line in lines)


def test_speed_and_time_left_are_of_the_time_at_work_and_pauses_are_none_of_it(tmp_path: Path):
    tree = begin(tmp_path / "out", units=10)
    # Three units, a crash, two days of nothing, three units.
    for number, at_s in enumerate([5, 15, 25, 172_800, 172_810, 172_820]):
        commit(tree, number, at_s)
    status, said = status_of(tree)
    assert status.working_s == 40
    assert status.images_per_s == pytest.approx(2 * 5 / 40)
    assert status.remaining_s == pytest.approx(4 * 8)
    assert said["units"] == "6 of 10 done, 4 pending"
    assert said["images"] == "6 ok, 6 failed"
    assert said["failed"] == "6 corrupt"
    assert said["skipped"] == "2 .json"
    assert said["left"] == "about 0:00:32 of work at this speed"


def test_programs_are_told_what_people_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    tree = begin(tmp_path / "out", units=10)
    commit(tree, 0, 5)
    commit(tree, 1, 15)
    outcome = Outcome.broken_off(KeyboardInterrupt(), None, started_at=START, note=None)
    Storage().put(tree.outcome, outcome.encode())
    assert main(["status", "--output", tree.root, "--json"]) == 0
    said = StatusSummary.model_validate_json(capsys.readouterr().out)
    assert (said.units_done, said.units_total, said.images) == (2, 10, {"ok": 2, "corrupt": 2})
    assert said.skipped == {".json": 2}
    assert (said.images_per_s, said.remaining_s, said.lock) == (pytest.approx(0.2), 80.0, "free")
    assert said.outcome == outcome


def test_persons_below_the_least_score_are_counted_apart(tmp_path: Path):
    tree = begin(tmp_path / "out", units=9)
    for number in range(9):
        commit(tree, number, number)
    scores = [float(some_poses(1, number).scores[0]) for number in range(9)]
    counted = sum(score >= SCORE_FLOOR for score in scores)
    below = 9 - counted
    assert below > 0 < counted
    status, said = status_of(tree)
    assert (status.people.counted, status.people.below) == (counted, below)
    assert said["persons"] == (
        f"{counted} from score {SCORE_FLOOR:g} on; {below} more below it, in the tables alone"
    )


@pytest.mark.parametrize(("apart_s", "known"), [(0.1, False), (20.0, True)])
def test_of_a_generation_whose_units_were_committed_all_at_once_no_speed_is_made_up(
    tmp_path: Path, apart_s: float, known: bool
):
    tree = begin(tmp_path / "out", units=2)
    commit(tree, 0, 5)
    commit(tree, 1, 5 + apart_s)
    (generation,) = read_status(RunOutput(Storage(), tree)).generations
    assert (generation.images_per_s is not None) == known


def test_before_the_second_commit_no_speed_is_known_and_none_is_made_up(tmp_path: Path):
    tree = begin(tmp_path / "out", units=10)
    commit(tree, 0, 5)
    status, said = status_of(tree)
    assert status.images_per_s is None
    assert status.remaining_s is None
    assert said["speed"].startswith("not known; last commit ")
    assert "left" not in said
    assert (said["lock"], said["outcome"]) == ("free", "none yet")


def test_an_earlier_attempts_outcome_is_not_taken_for_the_one_at_work(tmp_path: Path):
    tree = begin(tmp_path / "out", units=10)
    outcome = Outcome.broken_off(KeyboardInterrupt(), None, started_at=START, note=None)
    Storage().put(tree.outcome, outcome.encode())
    lease = Lease(
        owner="o", host="h", pid=7, process_space="elsewhere", renewed_at=START, expiry_s=60, generation=1
    )
    Storage().put(tree.lock, lease.model_dump_json().encode())
    _, said = status_of(tree)
    assert said["lock"] == (
        "abandoned: process 7 on h is silent for over 60 s, last heartbeat 100 s ago; run again to go on"
    )
    assert said["outcome"].startswith("of an earlier attempt: interrupted (exit code 75)")


def test_strangers_and_damaged_files_among_the_units_are_told_and_decide_over_nothing(tmp_path: Path):
    tree = begin(tmp_path / "out", units=10)
    for number in range(4):
        commit(tree, number, 5 + number)
    units = tmp_path / "out" / "units"
    (units / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (units / "notes.parquet").write_bytes(b"words")
    nested = units / "copy" / "units"
    nested.mkdir(parents=True)
    (nested / "u00000009.parquet").write_bytes((units / "u00000000.parquet").read_bytes())
    (units / "u00000002.parquet").write_bytes((units / "u00000002.parquet").read_bytes()[:-9])
    pq.write_table(pa.table({"status": ["ok"], "other": [1]}), units / "u00000003.parquet")

    status, said = status_of(tree)

    assert (status.units_done, sum(status.images.values())) == (2, 4)
    assert status.damaged == ("u00000002", "u00000003")
    assert status.strangers == (".DS_Store", "copy/units/u00000009.parquet", "notes.parquet")
    assert said["units"] == "2 of 10 done, 6 pending"
    assert said["damaged"].startswith("2 files, u00000002, u00000003")
    assert said["strangers"].startswith("3 files, .DS_Store, copy/")


def test_a_unit_of_another_run_is_damage_and_counts_as_nothing(tmp_path: Path):
    tree = begin(tmp_path / "out", units=10)
    commit(tree, 0, 5)
    commit(tree, 1, 15, record_of(10, scales=(0.5, 1.0)))
    status, said = status_of(tree)
    assert (status.units_done, sum(status.images.values())) == (1, 2)
    assert status.damaged == ("u00000001",)
    assert said["damaged"].startswith("1 files, u00000001: cut, or of another run; delete")


def test_a_name_with_digits_of_another_script_is_no_units(tmp_path: Path):
    tree = begin(tmp_path / "out", units=10)
    commit(tree, 0, 5)
    units = tmp_path / "out" / "units"
    (units / "u٠٠٠٠٠٠٠١.parquet").write_bytes((units / "u00000000.parquet").read_bytes())
    status, _ = status_of(tree)
    assert (status.units_done, status.strangers) == (1, ("u٠٠٠٠٠٠٠١.parquet",))


class ListingStorage(Storage):
    """Knows what was listed."""

    listed: ClassVar[list[str]] = []

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        self.listed.append(uri)
        return super().list(uri)


def test_units_of_many_generations_are_found_by_one_listing(tmp_path: Path):
    standing = Standing(Storage(), str(tmp_path / "in"), str(tmp_path / "out"))
    (tmp_path / "in").mkdir()
    for number in range(4):
        (tmp_path / "in" / f"{number}.png").write_bytes(picture(number if number % 2 else -number - 1))
        standing.sync()
    (tmp_path / "out" / "generations" / "g0003" / "units" / "notes.txt").write_text("words")
    ListingStorage.listed.clear()
    status = read_status(RunOutput.at(str(tmp_path / "out"), ListingStorage()))
    assert [(one.generation, one.images, one.failed, one.published) for one in status.generations] == [
        (1, 1, 1, True), (2, 1, 0, True), (3, 1, 1, True), (4, 1, 0, True),
    ]  # fmt: skip
    assert status.strangers == ("notes.txt",)
    # Once for their records, and once for their units.
    assert len([uri for uri in ListingStorage.listed if uri.endswith("/generations")]) == 2
