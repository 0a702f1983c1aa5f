"""The manifests' commands on a cluster of two nodes that asks for a token, in the environment of a pod."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.images import encode, gradient
from support.manifests import CRONJOB, RAYCRONJOB, RAYJOB, SPOT, commands
from support.ports import free_port
from support.ray_cluster import RAY, Head, started_head, wait_for_jobs

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
# What Kubernetes puts into pods for the service of a cluster that a RayJob named posrefine-annotate made.
SERVICE = "POSREFINE_ANNOTATE_X7F2K_HEAD_SVC"
SERVICE_LINKS = {
    f"{SERVICE}_SERVICE_HOST": "10.0.0.7",
    f"{SERVICE}_SERVICE_PORT": "8265",
    f"{SERVICE}_SERVICE_PORT_DASHBOARD": "8265",
    f"{SERVICE}_PORT": "tcp://10.0.0.7:8265",
    f"{SERVICE}_PORT_8265_TCP": "tcp://10.0.0.7:8265",
    f"{SERVICE}_PORT_8265_TCP_PROTO": "tcp",
    f"{SERVICE}_PORT_8265_TCP_PORT": "8265",
    f"{SERVICE}_PORT_8265_TCP_ADDR": "10.0.0.7",
}


def joining(head: Head) -> list[str]:
    own = ["--node-ip-address=127.0.0.1", "--block", "--num-cpus=2", "--disable-usage-stats"]
    agent = f"--dashboard-agent-listen-port={free_port()}"
    return [str(RAY), "start", f"--address={head.gcs}", agent, *own]


def nodes(head: Head) -> int:
    """How many nodes the cluster has, as its dashboard tells those who have the token."""
    bearer = {"Authorization": f"Bearer {TOKEN['RAY_AUTH_TOKEN']}"}
    request = urllib.request.Request(f"{head.dashboard}/nodes?view=summary", headers=bearer)
    with urllib.request.urlopen(request) as reply:
        summary = json.load(reply)["data"]["summary"]
    return sum(node["raylet"].get("state") == "ALIVE" for node in summary)


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    """The driver's node without CPUs for tasks, as in the manifests, and one worker beside it."""
    with (
        started_head(TOKEN | SERVICE_LINKS, cpus=0) as started,
        subprocess.Popen(joining(started), env=started.environment, stdout=subprocess.DEVNULL) as worker,
    ):
        try:
            for _ in range(120):
                if nodes(started) == 2:
                    break
                time.sleep(0.5)
            else:
                pytest.fail("the worker did not join within a minute")
            wait_for_jobs(started)
            yield started
        finally:
            worker.terminate()


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for index in range(3):
        (folder / f"{index}.png").write_bytes(encode(gradient(), "PNG"))
    return folder


def here(command: str, photographs: Path, output: Path, model: str = "posrefine_tiny") -> str:
    """A manifest's command with what a user fills in, and with this checkout in the place of the image's."""
    for given, own in {
        "s3://CHANGE-bucket/photographs": str(photographs),
        "s3://CHANGE-bucket/runs/photographs-dekr-w32": str(output),
        "s3://CHANGE-bucket/poses": str(output),
        "--model dekr_w32": f"--model {model} --input-size 64",
        "mmpose:dekr_w32_coco": "untrained",
        "--metrics-port 9400": "--metrics-port 0",
        "--device cuda": "--device cpu",
        "/app/": f"{REPOSITORY}/",
    }.items():
        command = command.replace(given, own)
    return command


def run(head: Head, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = head.environment | {"RAY_ADDRESS": head.dashboard} | variables
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=300, check=False, cwd="/"
    )


def test_a_worker_without_the_token_is_refused(head: Head):
    done = run(head, *joining(head), RAY_AUTH_TOKEN="another")
    assert done.returncode != 0
    assert "Unauthenticated" in done.stdout + done.stderr


def test_nobody_submits_without_the_token(head: Head):
    script = here(commands()[CRONJOB.name], Path("/in"), Path("/out"))
    done = run(head, "bash", "-euc", script, RAY_AUTH_TOKEN="another")
    assert done.returncode == 1
    assert "the cluster takes no job" in done.stderr
    assert "token" in done.stderr


@pytest.mark.parametrize("manifest", [RAYJOB, RAYCRONJOB, SPOT], ids=lambda path: path.stem)
def test_the_ray_jobs_command_annotates_on_the_worker(
    head: Head, photographs: Path, tmp_path: Path, manifest: Path
):
    entrypoint = shlex.split(here(commands()[manifest.name], photographs, tmp_path / "out"))
    done = run(head, str(RAY), "job", "submit", "--", *entrypoint)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "POSREFINE_ANNOTATE" not in done.stdout
    assert json.loads((tmp_path / "out/outcome.json").read_text())["images"] == {"ok": 3}


def test_the_scheduled_pod_ends_with_the_exit_code_of_the_run(head: Head, photographs: Path, tmp_path: Path):
    output = tmp_path / "out"
    script = here(commands()[CRONJOB.name], photographs, output)
    first = run(head, "bash", "-euc", script)
    assert first.returncode == 0, first.stdout + first.stderr
    assert json.loads((output / "outcome.json").read_text())["images"] == {"ok": 3}
    # The next night's pod, or a retry, takes the next number, and finds nothing left to do.
    again = run(head, "bash", "-euc", script)
    assert again.returncode == 0, again.stdout + again.stderr
    assert re.search(r"Ray job posrefine-\d{4}-\d\d-\d\d-2$", again.stderr, re.MULTILINE)
    other_settings = run(head, "bash", "-euc", script.replace("--input-size 64", "--input-size 96"))
    assert other_settings.returncode == 4, other_settings.stdout + other_settings.stderr
    elsewhere = here(commands()[CRONJOB.name], photographs, tmp_path / "elsewhere", "dekr_w33")
    no_such_model = run(head, "bash", "-euc", elsewhere)
    assert no_such_model.returncode == 2, no_such_model.stdout + no_such_model.stderr
    assert "dekr_w33" in no_such_model.stdout


@pytest.mark.timeout(200)
def test_a_pod_that_comes_back_follows_the_job_that_is_at_work(head: Head, tmp_path: Path):
    goes_on = tmp_path / "go-on"
    waiting = f"echo begun; until test -e {goes_on}; do sleep 0.1; done; echo over; exit 3"
    submit = ["python", f"{REPOSITORY}/jobs/submit.py", "--name", "followed", "--", "bash", "-c", waiting]
    environment = head.environment | {"RAY_ADDRESS": head.dashboard}
    with subprocess.Popen(submit, env=environment, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        assert any("begun" in line for line in iter(first.stdout.readline, ""))
        first.terminate()
        assert first.wait() == 75
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(submit, env=environment, text=True, **pipes) as second:
        assert second.stdout is not None
        # Only when it has found the first one's job may that one end.
        assert any("Ray job followed-1" in line for line in iter(second.stdout.readline, ""))
        goes_on.touch()
        said, _ = second.communicate(timeout=120)
    assert second.returncode == 3, said
    assert "over" in said
