"""Ray's own processes are killed in mid-run: the run ends soon, with the reason, and goes on elsewhere."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster
from support.annotation import (
    is_free,
    require_whole_objects,
    some_images,
    start_driver,
    table,
    write_images,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """One that this process is not connected to."""
    with started() as found:
        yield found


@contextmanager
def started() -> Iterator[Cluster]:
    # Ray's sockets lie in its folder, and socket paths are short.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        machine = {"num_cpus": 2, "include_dashboard": False, "temp_dir": folder}
        cluster = Cluster(initialize_head=True, head_node_args=machine)
        yield cluster
        cluster.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize(("process", "name"), [("raylet", "raylet"), ("gcs_server", "control service")])
def test_a_run_whose_ray_is_killed_ends_with_code_1_and_the_reason_in_a_line(
    cluster: Cluster, process: str, name: str, tmp_path: Path
):
    given, output = write_images(tmp_path / "images", some_images(80)), str(tmp_path / "out")
    with start_driver(given, output, cluster.address) as driver:
        while len(list(Path(output).glob("units/*.parquet"))) < 2:
            assert driver.poll() is None, driver.communicate()[0]
            time.sleep(0.1)
        (victim,) = cluster.head_node.all_processes[process]
        os.kill(victim.process.pid, signal.SIGKILL)
        said, _ = driver.communicate(timeout=120)

    assert driver.returncode == 1, said
    assert said.splitlines()[-1].startswith("ClusterLost (exit code 1): ")
    assert f"{name}" in said.splitlines()[-1]
    assert "Traceback" not in said
    outcome = json.loads(Path(output, "outcome.json").read_text())
    assert (outcome["exit_code"], outcome["complete"]) == (1, False)
    assert name in outcome["message"]
    assert is_free(output)
    assert require_whole_objects(output) >= 4


@pytest.mark.slow
def test_a_sync_whose_cluster_is_deleted_with_its_driver_goes_on_on_the_next_cluster(tmp_path: Path):
    # So Kueue suspends a RayJob: all of its pods are deleted, and later it gets a new cluster.
    given, output = write_images(tmp_path / "images", some_images(80)), str(tmp_path / "out")
    with started() as first, start_driver(given, output, first.address, command="sync") as driver:
        while len(list(Path(output).glob("units/*.parquet"))) < 2:
            assert driver.poll() is None, driver.communicate()[0]
            time.sleep(0.1)
        driver.kill()
        driver.communicate()
    before = {path.name: path.stat().st_mtime_ns for path in Path(output).glob("units/*.parquet")}
    assert not Path(output, "tables", "_SUCCESS.json").exists()
    with started() as second, start_driver(given, output, second.address, command="sync") as driver:
        said, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, said
    after = {path.name: path.stat().st_mtime_ns for path in Path(output).glob("units/*.parquet")}
    assert before.items() <= after.items(), "a finished unit was annotated again"
    keys = table(output, "images")["image_key"].to_pylist()
    assert sorted(keys) == sorted(some_images(80))
