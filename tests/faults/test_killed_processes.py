"""Drivers are killed; the tables are afterwards what an undisturbed run gives."""

from __future__ import annotations

import signal
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
from support.ray_cluster import started_cluster

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
