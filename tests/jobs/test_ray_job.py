"""The annotate job as `ray job submit` runs it, on a cluster with a dashboard on loopback."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.images import encode, gradient
from support.networks import noisy_network
from support.photos import CUT_TARS, assert_same_persons, read_photos, three_forms
from support.ray_cluster import RAY, Head, started_head
from support.s3 import Bucket, S3Server

from posrefine.weights import save_weights

REPOSITORY = Path(__file__).parents[2]
EXCLUDES = ["tests", "docs"]


@pytest.fixture(scope="module")
def head(s3_server: S3Server) -> Iterator[Head]:
    with started_head(s3_server.environment() | {"RAY_AUTH_MODE": "disabled"}) as started:
        yield started


def submit(head: Head, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        *(str(RAY), "job", "submit", f"--address={head.dashboard}", "--working-dir=."),
        *("--runtime-env-json", json.dumps({"excludes": EXCLUDES})),
        *("--", "python", "jobs/annotate.py", *arguments),
    ]
    return subprocess.run(
        command,
        env=head.environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_a_submitted_job_annotates_and_leaves_its_exit_code_in_the_outcome(head: Head, tmp_path: Path):
    folder, output = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for index in range(3):
        (folder / f"{index}.png").write_bytes(encode(gradient(), "PNG"))
    (folder / "text.jpg").write_bytes(b"words")
    settings = ["--model", "posrefine_tiny", "--weights", "untrained", "--input-size", "64"]

    done = submit(head, "run", "--input", str(folder), "--output", str(output), *settings)

    assert done.returncode == 1, done.stdout + done.stderr
    assert (output / "outcome.json").exists(), done.stdout + done.stderr
    outcome = json.loads((output / "outcome.json").read_text())
    assert outcome["exit_code"] == 3
    assert outcome["images"] == {"ok": 3, "unsupported": 1}
    assert "mean nothing" in outcome["note"]
    assert "mean nothing" in done.stdout


@pytest.mark.slow
def test_submitted_jobs_find_the_same_persons_in_a_folder_in_tars_of_a_bucket_and_in_parquet(
    head: Head, tmp_path: Path, s3_bucket: Bucket
):
    photos, weights = read_photos(), tmp_path / "noisy.safetensors"
    save_weights(noisy_network(), weights)
    settings = ["--model", "posrefine_tiny", "--weights", str(weights), "--input-size", "64", *CUT_TARS]
    settings += ["--precision", "float32"]  # bfloat16 rounds by batch

    inputs = three_forms(photos, tmp_path, s3_bucket)
    for output, given in inputs.items():
        done = submit(head, "run", "--input", given, "--output", output, *settings)
        assert done.returncode == 0, done.stdout + done.stderr

    assert_same_persons(list(inputs), photos)
