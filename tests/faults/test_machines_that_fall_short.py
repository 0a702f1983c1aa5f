"""Machines without the room, the memory or the GPU that a run wants: a clear end, or a slower way."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import ray
from support.annotation import (
    annotate,
    require_same_tables,
    require_whole_objects,
    some_images,
    start_driver,
    write_images,
)
from support.images import encode, gradient
from support.ray_cluster import started_cluster

from jobs.train import main as train

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")

IMAGES = some_images(20)
LEAST_OBJECT_STORE_BYTES = 78_643_200
SMALL_TRAINING = [
    "--model", "posrefine_tiny", "--input-sizes", "64", "--batch-size", "2", "--epochs", "1",
    "--synthetic", "2",
]  # fmt: skip


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Says that it has a GPU, and has none; with as little object store as Ray allows."""
    with started_cluster({}, num_gpus=1, object_store_memory=LEAST_OBJECT_STORE_BYTES) as address:
        yield address


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if os.getuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("a small disk can be mounted by root only, and not in every container")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_run_that_fills_its_disk_says_so_and_resumes_when_there_is_room(
    cluster: str, small_disk: Path, tmp_path: Path
):
    given, output = write_images(tmp_path / "images", IMAGES), str(small_disk / "out")
    undisturbed = str(tmp_path / "undisturbed")

    with start_driver(given, output, cluster, "--device", "cpu") as driver:
        said, _ = driver.communicate(timeout=240)
    assert driver.returncode == 1, said
    assert "No space left on device" in said
    assert require_whole_objects(output) < len(IMAGES)

    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    assert annotate(given, output, "--device", "cpu") == 0
    assert annotate(given, undisturbed, "--device", "cpu") == 0
    require_same_tables(output, undisturbed)


def test_an_actor_that_cannot_start_ends_the_run_within_a_minute_with_the_reason(
    cluster: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    given, output = write_images(tmp_path / "images", some_images(2)), str(tmp_path / "out")
    began = time.monotonic()
    assert annotate(given, output, "--device", "cuda") == 2
    assert time.monotonic() - began < 120  # a silent wait would take ten minutes
    assert "device 'cuda' cannot be used here" in capsys.readouterr().err
    assert "choose auto, cpu" in json.loads(Path(output, "outcome.json").read_text())["message"]


def test_a_training_on_a_gpu_that_torch_cannot_use_ends_with_the_same_words(
    cluster: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert train([*SMALL_TRAINING, "--output", str(tmp_path), "--device", "cuda"]) == 2
    said = capsys.readouterr().err
    assert "device 'cuda' cannot be used here (" in said
    assert "choose auto, cpu" in said


def test_more_training_processes_than_gpus_are_refused_instead_of_waited_for(
    cluster: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert train([*SMALL_TRAINING, "--output", str(tmp_path), "--workers", "2"]) == 2
    assert "2 training processes of a GPU each: the cluster has 1; lower --workers" in capsys.readouterr().err


def test_weights_that_cannot_be_read_end_the_run_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    given, output = write_images(tmp_path / "images", some_images(2)), str(tmp_path / "out")
    weights = tmp_path / "cut.safetensors"
    weights.write_bytes(b"\xff\0\0\0\0\0\0\0{")
    assert annotate(given, output, "--weights", str(weights)) == 2
    assert "cut.safetensors" in capsys.readouterr().err
    assert "cut.safetensors" in json.loads(Path(output, "outcome.json").read_text())["message"]


def test_a_gpu_that_no_machine_has_is_refused_before_anything_starts(
    cluster: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    given, output = write_images(tmp_path / "images", some_images(2)), str(tmp_path / "out")
    assert annotate(given, output, "--num-gpus-per-actor", "2") == 2
    assert "has room for 0" in capsys.readouterr().err


@pytest.mark.slow
def test_a_gpu_that_another_job_holds_is_waited_for_aloud_and_not_for_ever(cluster: str, tmp_path: Path):
    given, output = write_images(tmp_path / "images", some_images(2)), str(tmp_path / "out")

    @ray.remote(num_gpus=1, num_cpus=0)
    class OtherJob:
        def is_there(self) -> bool:
            return True

    other = OtherJob.remote()
    ray.get(other.is_there.remote())
    wanted = ["--precision", "float32", "--num-gpus-per-actor", "1", "--num-cpus-per-actor", "1"]
    wanted.append("--actor-wait-s")

    with start_driver(given, output, cluster, *wanted, "45") as driver:
        said, _ = driver.communicate(timeout=240)
    assert driver.returncode == 1, said
    assert "no inference actor has started yet; 1 with 1 CPUs and 1 GPUs each are wanted" in said
    assert "0 GPUs free" in said
    assert "ActorsUnavailable (exit code 1)" in said

    ray.kill(other)
    with start_driver(given, output, cluster, *wanted, "120") as driver:
        said, _ = driver.communicate(timeout=240)
    assert driver.returncode == 0, said
    assert require_whole_objects(output) == 2


@pytest.mark.slow
def test_units_larger_than_the_object_store_go_by_way_of_the_disk(cluster: str, tmp_path: Path):
    picture = encode(np.asarray(gradient(3000, 2000)))
    given = write_images(tmp_path / "images", {f"{index}.jpg": picture for index in range(12)})
    output = str(tmp_path / "out")
    # Each unit is 108 MB of pixels.
    assert annotate(given, output, "--device", "cpu", "--unit-images", "6") == 0
    assert require_whole_objects(output) == 12
