"""The image: dependencies before the code, one copy of the code, no root; its steps in a new environment."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support.dockerfile import Instruction, instructions
from support.ports import free_port

from pipeline.driver.telemetry import Telemetry
from posrefine import __version__

ROOT = Path(__file__).parents[2]
DOCKERFILE = instructions(ROOT / "infra/docker/Dockerfile")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def only(name: str, containing: str = "") -> Instruction:
    (found,) = [step for step in DOCKERFILE if step.name == name and containing in step.text]
    return found


def copied() -> list[str]:
    return [source for step in DOCKERFILE if step.name == "COPY" for source in step.text.split()[:-1]]


def variables(name: str) -> dict[str, str]:
    """Names and values of all instructions ENV, ARG or LABEL."""
    steps = [step.text for step in DOCKERFILE if step.name == name]
    return dict(part.partition("=")[::2] for text in steps for part in shlex.split(text))


def test_the_image_copies_files_that_exist_and_are_not_ignored():
    ignored = (ROOT / ".dockerignore").read_text().split()
    for source in copied():
        assert (ROOT / source).exists(), source
        assert source not in ignored
    assert {"posrefine", "pipeline", "jobs"} <= set(copied())


def test_dependencies_are_a_layer_that_a_change_of_the_code_leaves_alone():
    before = DOCKERFILE[: DOCKERFILE.index(only("RUN", "--requirement"))]
    assert [step.text for step in before if step.name == "COPY"] == ["pyproject.toml constraints.txt ./"]
    assert not any("REVISION" in step.text or "VERSION=" in step.text for step in before)


def test_what_is_installed_is_what_the_project_asks_for(tmp_path: Path):
    (ours,) = [part for part in shlex.split(only("RUN", "--requirement").text) if "tomllib" in part]
    done = subprocess.run([sys.executable, "-c", ours], cwd=ROOT, capture_output=True, text=True, check=True)
    extras = PROJECT["optional-dependencies"]
    taken = [text for name in ("pipeline", "report", "otlp") for text in extras[name]]
    assert done.stdout.splitlines() == [*PROJECT["dependencies"], *taken]


def test_the_image_holds_one_copy_of_the_code_and_has_it_on_the_path():
    homes = {step.text for step in DOCKERFILE if step.name == "WORKDIR"}
    assert variables("ENV")["PYTHONPATH"] == "/app"
    assert "/app" in homes
    # What pip installs of the project without --editable is a second copy of the library, in site-packages.
    installs = [step.text for step in DOCKERFILE if step.name == "RUN" and "pip install" in step.text]
    assert ["--requirement" in text or "--no-deps --editable ." in text for text in installs] == [True, True]


def test_nobody_in_the_image_is_root_and_signals_reach_the_job():
    (user,) = [step.text for step in DOCKERFILE if step.name == "USER"]
    # Kubernetes' runAsNonRoot takes numbers only.
    assert all(int(number) > 0 for number in user.split(":"))
    assert json.loads(only("ENTRYPOINT").text) == ["tini", "--", "python"]
    job, _ = json.loads(only("CMD").text)
    assert (ROOT / Path(job).relative_to("/app")).exists()


def test_the_image_says_what_it_is():
    labels = variables("LABEL")
    assert variables("ARG")["VERSION"] == __version__
    assert labels["org.opencontainers.image.version"] == "${VERSION}"
    assert labels["org.opencontainers.image.licenses"] == PROJECT["license"]


def test_the_image_is_healthy_while_a_run_serves_its_metrics_and_where_none_were_asked_for():
    _, _, check = only("HEALTHCHECK").text.partition(" CMD ")
    if shutil.which("wget") is None:
        pytest.skip("wget is not on this machine")

    def healthy(port: str) -> bool:
        return not subprocess.run(
            ["sh", "-c", check], env=os.environ | {"POSREFINE_METRICS_PORT": port}
        ).returncode

    port = free_port()
    assert healthy("")
    assert not healthy(str(port))
    with Telemetry(units_total=1, units_done=0, processors=1).serving(port):
        assert healthy(str(port))


@pytest.mark.slow
def test_the_steps_of_the_image_give_a_clean_environment_that_predicts(tmp_path: Path):
    """The Dockerfile's steps that install, in a new virtual environment instead of a container."""
    app, environment = tmp_path / "app", tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    system = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL"))}
    system |= {"PATH": f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    # PyTorch's own index may be out of reach; what this machine's pip finds serves as well.
    given = {
        "VARIANT": "cpu",
        "CPU_INDEX": os.environ.get("PIP_EXTRA_INDEX_URL", ""),
        "WEIGHTS": "posrefine:tiny_coco",
    }
    given |= {"POSREFINE_CACHE": str(tmp_path / "weights")}

    def run(text: str) -> None:
        script = text.replace("/tmp/", f"{tmp_path}/")
        done = subprocess.run(
            ["sh", "-ec", script], cwd=app, env=system | given, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    app.mkdir()
    for step in DOCKERFILE:
        if step.name == "COPY":
            for source in step.text.split()[:-1]:
                copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
                copy(ROOT / source, app / source)
        elif step.name == "ENV" and "PYTHONPATH" in step.text:
            given["PYTHONPATH"] = str(app)
        elif step.name == "RUN" and "python" in step.text:
            run(step.text)

    code = "import posrefine, pipeline, jobs, ray; print(posrefine.__file__, pipeline.__file__)"
    found = subprocess.run(
        [environment / "bin/python", "-c", code], cwd="/", env=system | given, capture_output=True, text=True
    )
    assert found.stdout.split() == [str(app / "posrefine/__init__.py"), str(app / "pipeline/__init__.py")]
    job = [environment / "bin/python", app / "jobs/annotate.py", "--help"]
    assert "usage" in subprocess.run(job, cwd="/", env=system | given, capture_output=True, text=True).stdout
