"""Drivers and workers are killed; the tables are afterwards what an undisturbed run gives."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.annotation import (
    annotate,
    require_same_tables,
    require_whole_objects,
    some_images,
    start_driver,
    table,
    write_images,
)
from support.ray_cluster import started_cluster, worker_pids

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")

IMAGES = some_images(20)
STEPS = [
    r"after:lock\.json",
    r"before:manifest\.parquet",
    r"after:manifest\.parquet",
    r"after:run\.json",
    r"receipt:1",
    r"receipt:4",
    r"before:tables/images/part-00001",
    r"after:tables/images/part-00002",
    r"before:_SUCCESS",
    r"after:_SUCCESS",
    r"before:outcome\.json",
]
"""The moments of a run, in order; those of planning are before there is a Ray."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with started_cluster({}) as address:
        yield address


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_images(tmp_path_factory.mktemp("input") / "images", IMAGES)


@pytest.fixture(scope="module")
def undisturbed(cluster: str, given: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    output = str(tmp_path_factory.mktemp("undisturbed") / "out")
    assert annotate(given, output) == 0
    assert len(table(output, "persons")) > 0
    return output


@pytest.fixture(autouse=True)
def _own_signal_handlers() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


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
    assert not Path(output, "lock.json").exists()


def test_a_killed_run_is_not_resumed_with_other_weights_or_settings_but_with_other_machines(
    cluster: str, given: str, undisturbed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = str(tmp_path / "out")
    with start_driver(given, output, cluster, dies="receipt:2") as driver:
        driver.communicate(timeout=120)
    assert driver.returncode == -signal.SIGKILL
    before = {path: path.read_bytes() for path in Path(output, "units").iterdir()}

    for other in (["--model", "posrefine_w32"], ["--scales", "1,2"], ["--unit-images", "3"]):
        assert annotate(given, output, *other) == 4
        assert "belongs to a different run" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path(output, "units").iterdir()} == before

    assert annotate(given, output, "--actors", "2", "--num-cpus-per-actor", "0.5") == 0
    require_same_tables(output, undisturbed)
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.slow
def test_twenty_workers_killed_at_random_cost_no_image(
    cluster: str, given: str, undisturbed: str, tmp_path: Path
):
    killed: list[int] = []
    chance = random.Random(20)
    runs = 0
    while len(killed) < 20:
        output, over = str(tmp_path / f"out{runs}"), threading.Event()

        def kill(output: str = output, over: threading.Event = over) -> None:
            finished = 0
            while not over.wait(0.05):
                # One death for each unit that finishes: workers that never get to work prove nothing.
                units, pids = len(list(Path(output).glob("units/*.parquet"))), worker_pids("ray::M")
                if units > finished and pids:
                    finished += 1
                    killed.append(chance.choice(pids))
                    os.kill(killed[-1], signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        code = annotate(given, output)
        over.set()
        killer.join()
        assert code == 0
        require_same_tables(output, undisturbed)
        runs += 1


def test_of_two_drivers_on_one_output_one_works_and_the_other_ends_with_code_5(
    cluster: str, given: str, undisturbed: str, tmp_path: Path
):
    output = str(tmp_path / "out")
    drivers = [start_driver(given, output, cluster) for _ in range(2)]
    said = [driver.communicate(timeout=120)[0] for driver in drivers]
    codes = sorted(driver.returncode for driver in drivers)
    # Whoever comes after the other has finished finds nothing to do.
    assert codes in ([0, 5], [0, 0]), said
    assert json.loads(Path(output, "outcome.json").read_text())["complete"]
    require_same_tables(output, undisturbed)
