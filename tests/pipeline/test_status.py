from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.rows import result, some_poses
from support.runs import metadata_of

from pipeline.commit import COMMITTED_AT, encode_table
from pipeline.layout import OutputTree
from pipeline.lock import Lease
from pipeline.outcome import Outcome
from pipeline.record import Fingerprint, RunRecord
from pipeline.schema import unit_table
from pipeline.status import RunStatus, read_status
from pipeline.storage import Storage

START = datetime(2026, 1, 1, tzinfo=UTC)
FINGERPRINT = Fingerprint(
    schema_version=1,
    input="/images",
    unit_images=2,
    unit_bytes=1,
    split_tars=True,
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
    max_pixels=1,
    max_image_bytes=1,
)


def begin(output: Path, units: int) -> OutputTree:
    tree = OutputTree.at(str(output))
    record = RunRecord(
        fingerprint=FINGERPRINT,
        manifest_digest="00",
        units=units,
        images=2 * units,
        input_bytes=1,
        table_units=512,
        settings={},
        weights="w.safetensors",
        code_version="0",
        created_at=START,
    )
    Storage().put(tree.run, record.encode())
    return tree


def commit(tree: OutputTree, number: int, at_s: float) -> None:
    """A unit of one good image and one bad, committed so many seconds after the start."""
    unit_id = f"u{number:08d}"
    rows = unit_table(unit_id, [result(2 * number, some_poses(1, number)), result(2 * number + 1, None)])
    when = {COMMITTED_AT: (START + timedelta(seconds=at_s)).isoformat().encode()}
    Storage().put(tree.unit(unit_id), encode_table(rows, metadata_of().encode() | when))


def status_of(tree: OutputTree) -> tuple[RunStatus, dict[str, str]]:
    status = read_status(tree.root, Storage())
    lines = status.lines(START + timedelta(seconds=100))
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
    assert said["left"] == "about 0:00:32 of work at this speed"


def test_before_the_second_commit_no_speed_is_known_and_none_is_made_up(tmp_path: Path):
    tree = begin(tmp_path / "out", units=10)
    commit(tree, 0, 5)
    status, said = status_of(tree)
    assert status.images_per_s is None
    assert status.remaining_s is None
    assert "speed" not in said
    assert "left" not in said
    assert (said["lock"], said["outcome"]) == ("free", "none yet")


def test_an_earlier_attempts_outcome_is_not_taken_for_the_one_at_work(tmp_path: Path):
    tree = begin(tmp_path / "out", units=10)
    outcome = Outcome.broken_off(KeyboardInterrupt(), None, started_at=START, note=None)
    Storage().put(tree.outcome, outcome.encode())
    lease = Lease(owner="o", host="h", pid=7, process_space="elsewhere", renewed_at=START, expiry_s=60)
    Storage().put(tree.lock, lease.model_dump_json().encode())
    _, said = status_of(tree)
    assert said["lock"] == (
        "abandoned: process 7 on h is silent for over 60 s, last heartbeat 100 s ago; run again to go on"
    )
    assert said["outcome"].startswith("of an earlier attempt: interrupted (exit code 75)")
