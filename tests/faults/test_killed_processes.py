"""Drivers and workers are killed; the tables are afterwards what an undisturbed run gives."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from support.annotation import (
    annotate,
    is_free,
    require_same_tables,
    require_whole_objects,
    some_images,
    start_driver,
    table,
    write_images,
)
from support.ray_cluster import worker_pids

from jobs.annotate import main
from pipeline.output.parquet import decode_table

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")

IMAGES = some_images(20) | {"000.png": b"no picture", "001.png": b""}
STEPS = [
    r"after:_probe-",
    r"after:lock\.json",
    r"before:manifest-",
    r"after:manifest-",
    r"after:run\.json",
    r"receipt:1",
    r"receipt:4",
    r"before:tables/images/part-g0001-00001",
    r"after:tables/images/part-g0001-00002",
    r"before:_SUCCESS",
    r"after:_SUCCESS",
    r"before:outcome\.json",
]
"""The moments of a run, in order; those of planning are before there is a Ray."""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_images(tmp_path_factory.mktemp("input") / "images", IMAGES)


@pytest.fixture(scope="module")
def undisturbed(cluster: str, given: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    output = str(tmp_path_factory.mktemp("undisturbed") / "out")
    assert annotate(given, output) == 0
    assert len(table(output, "persons")) > 0
    return output


@pytest.mark.slow
def test_a_driver_killed_at_every_step_one_after_the_other_loses_and_doubles_nothing(
    cluster: str, given: str, undisturbed: str, tmp_path: Path
):
    output, finished = str(tmp_path / "out"), 0
    for step in STEPS:
        with start_driver(given, output, cluster, dies=step) as driver:
            said, _ = driver.communicate(timeout=120)
        assert driver.returncode == -signal.SIGKILL, f"{step}: ended with {driver.returncode}\n{said}"
        images = require_whole_objects(output)
        assert images >= finished, f"{step}: finished images are gone"
        finished = images

    assert annotate(given, output) == 0
    require_same_tables(output, undisturbed)
    assert is_free(output)


def units_left(output: str) -> dict[Path, bytes]:
    """The unit files of a killed driver, once the last of its workers has put what it was about to put."""
    paths: list[Path] = []
    while paths != (paths := sorted(Path(output, "units").iterdir())) or any(
        path.suffix == ".unfinished" for path in paths
    ):
        time.sleep(2)
    return {path: path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def killed(
    cluster: str, given: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[subprocess.Popen[str], str]:
    """The dead driver of a run, killed when it heard of the fifth unit, and its output."""
    output = str(tmp_path_factory.mktemp("killed") / "out")
    with start_driver(given, output, cluster, dies="receipt:5") as driver:
        driver.communicate(timeout=240)
    assert driver.returncode == -signal.SIGKILL
    return driver, output


def test_the_status_of_a_killed_run_tells_what_is_done_what_is_left_and_that_its_driver_is_gone(
    killed: tuple[subprocess.Popen[str], str], capsys: pytest.CaptureFixture[str]
):
    driver, output = killed
    units = {path: decode_table(content) for path, content in units_left(output).items()}
    statuses = [status for rows in units.values() for status in rows["status"].to_pylist()]
    capsys.readouterr()

    assert main(["status", "--output", output]) == 0

    said = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert said["units"] == f"{len(units)} of 10 done, {10 - len(units)} pending"
    assert said["images"] == f"{statuses.count('ok')} ok, {len(statuses) - statuses.count('ok')} failed"
    kinds = [f"{count} {kind}" for kind in ("truncated", "unsupported") if (count := statuses.count(kind))]
    assert said.get("failed", "") == ", ".join(kinds)
    # It was killed within seconds of its first commit.
    assert re.match(
        r"(not known|[\d.]+ images/s since the first commit); last commit [\d-]{10} [\d:]{8} UTC",
        said["speed"],
    )
    is_told = re.match(r"about \d+:\d\d:\d\d of work", said.get("left", "")) is not None
    assert is_told == (len(units) < 10 and "images/s" in said["speed"])
    assert re.match(rf"abandoned: process {driver.pid} on \S+ is gone, last heartbeat \d+ s", said["lock"])
    assert said["outcome"] == "none yet of this attempt"


def test_a_killed_run_is_not_resumed_with_other_weights_or_settings_but_with_work_of_another_shape(
    killed: tuple[subprocess.Popen[str], str],
    given: str,
    undisturbed: str,
    capsys: pytest.CaptureFixture[str],
):
    _, output = killed
    before = units_left(output)

    for other in (["--model", "posrefine_w32"], ["--scales", "1,2"], ["--max-pixels", "5000"]):
        assert annotate(given, output, *other) == 4
        assert "belongs to a different run" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path(output, "units").iterdir()} == before

    other_shape = ("--actors", "2", "--num-cpus-per-actor", "0.5", "--unit-images", "3", "--unit-bytes", "99")
    assert annotate(given, output, *other_shape) == 0
    require_same_tables(output, undisturbed)
    assert {path: path.read_bytes() for path in before} == before


@contextmanager
def random_kills(output: str, times: int) -> Iterator[list[str]]:
    """While the block lasts, one random worker is killed for each unit that finishes, so many times in all.

    Workers that are killed faster than they can finish anything would only show that they can be killed. The
    first one is an inference actor: units wait for commits that get killed, and a quick actor would be
    through with all of them, and gone, before chance came to it.
    """
    killed: list[str] = []
    over, chance = threading.Event(), random.Random(20)

    def kill() -> None:
        finished = 0
        while len(killed) < times and not over.wait(0.02):
            actors = worker_pids("InferenceActor") if not killed else []
            workers = actors or worker_pids("ray::Map") + worker_pids("ray::AttemptLedger")
            if (units := units_of(output)) > finished and workers:
                pid, finished = chance.choice(sorted(workers)), units
                # It may have ended by itself just now.
                with suppress(ProcessLookupError, FileNotFoundError):
                    title = Path(f"/proc/{pid}/cmdline").read_text()
                    os.kill(pid, signal.SIGKILL)
                    killed.append(title)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        yield killed
    finally:
        over.set()
        killer.join()


def units_of(output: str) -> int:
    return len(list(Path(output).glob("units/*.parquet")))


@pytest.mark.slow
def test_twenty_workers_killed_at_random_in_one_run_cost_no_image(cluster: str, tmp_path: Path):
    given = write_images(tmp_path / "images", some_images(160))
    output, undisturbed = str(tmp_path / "out"), str(tmp_path / "undisturbed")
    assert annotate(given, undisturbed) == 0

    with random_kills(output, 20) as killed:
        assert annotate(given, output) == 0

    assert len(killed) == 20
    assert any("InferenceActor" in title for title in killed)
    require_same_tables(output, undisturbed)


def finish_together(given: str, output: str, cluster: str) -> None:
    """Two drivers started at the same moment: one does the work, the other ends with code 5."""
    drivers = [start_driver(given, output, cluster) for _ in range(2)]
    said = [driver.communicate(timeout=300)[0] for driver in drivers]
    assert sorted(driver.returncode for driver in drivers) == [0, 5], said
    (refused,) = [text for driver, text in zip(drivers, said, strict=True) if driver.returncode == 5]
    assert "OutputLocked (exit code 5)" in refused


@pytest.mark.slow
def test_of_two_drivers_started_at_the_same_moment_one_works_and_the_other_ends_with_code_5(
    cluster: str, given: str, undisturbed: str, tmp_path: Path
):
    output = str(tmp_path / "out")
    finish_together(given, output, cluster)
    assert json.loads(Path(output, "outcome.json").read_text())["exit_code"] == 0
    require_same_tables(output, undisturbed)


@pytest.mark.slow
def test_a_dead_drivers_output_is_taken_over_by_one_of_two_that_come_at_the_same_moment(
    cluster: str, given: str, undisturbed: str, tmp_path: Path
):
    output = str(tmp_path / "out")
    with start_driver(given, output, cluster, dies="receipt:3") as driver:
        driver.communicate(timeout=120)
    assert driver.returncode == -signal.SIGKILL
    assert not is_free(output)

    finish_together(given, output, cluster)
    require_same_tables(output, undisturbed)
    assert is_free(output)
