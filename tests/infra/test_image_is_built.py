"""The image, built by a real builder without a daemon, on a base of Debian's own packages."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from posrefine import __version__

ROOT = Path(__file__).parents[2]
PACKAGES = "python3-pip,python3-venv,python-is-python3,ca-certificates"

_WHERE_PACKAGES_ARE = {"INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "TRUSTED_HOST", "TIMEOUT", "CERT"}


def pip_configuration() -> tuple[dict[str, str], list[str]]:
    """Where pip finds packages on this machine: variables, and the files and folders that they name."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    variables = {"PIP_BREAK_SYSTEM_PACKAGES": "1"}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        option = name.rpartition(".")[2].upper().replace("-", "_")
        if name.startswith("global.") and option in _WHERE_PACKAGES_ARE:
            variables[f"PIP_{option}"] = value.strip("'").replace("\\n", " ")
    folders = {
        word.removeprefix("file://") for value in variables.values() for word in value.split() if "/" in word
    }
    # Pages of an index name files that lie beside it.
    folders = {folder.removesuffix("/simple") for folder in folders}
    there = sorted(folder for folder in folders if Path(folder).exists())
    return variables, there


class Builder:
    """buildah with a storage of its own."""

    def __init__(self, folder: Path) -> None:
        self._command = [
            "buildah", "--root", folder / "storage", "--runroot", folder / "run", "--storage-driver", "vfs"
        ]  # fmt: skip

    def __call__(self, *arguments: str | Path, timeout_s: float = 1800) -> str:
        done = subprocess.run(
            [*self._command, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"buildah {arguments[0]}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
        return done.stdout.strip()


@pytest.fixture
def builder(tmp_path: Path) -> Iterator[Builder]:
    for tool in ("buildah", "debootstrap"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not on this machine: `apt-get install buildah debootstrap`")
    if os.getuid() != 0:
        pytest.skip("debootstrap wants root")
    yield Builder(tmp_path)
    # Gigabytes, of which pytest would keep those of the last three runs.
    for name in ("storage", "run", "base"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_builder_makes_an_image_that_finds_people(tmp_path: Path, builder: Builder):
    base = tmp_path / "base"
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", base],
        check=True,
        capture_output=True,
    )
    variables, folders = pip_configuration()
    empty = builder("from", "scratch")
    builder("add", empty, base, "/")
    builder("config", *(f"--env={name}={value}" for name, value in variables.items()), empty)
    builder("commit", "--rm", empty, "localhost/python")
    shutil.rmtree(base)
    arguments = {
        "PYTHON_IMAGE": "localhost/python",
        "VARIANT": "cpu",
        "CPU_INDEX": variables.get("PIP_EXTRA_INDEX_URL", ""),
        "WEIGHTS": "posrefine:tiny_coco",
    }
    mirrors = [f"--volume={folder}:{folder}:ro" for folder in folders]
    given = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    dockerfile = "--file=infra/docker/Dockerfile"
    builder("bud", "--isolation=chroot", *mirrors, *given, dockerfile, "--tag=posrefine", ".")

    built = json.loads(builder("inspect", "--type=image", "posrefine"))["OCIv1"]
    assert built["config"]["User"] == "1000:1000"
    assert built["config"]["Entrypoint"] == ["tini", "--", "python"]
    assert built["config"]["Labels"]["org.opencontainers.image.version"] == __version__

    container = builder("from", "posrefine")
    entry, home = ["--", "tini", "--", "python"], "/home/ray"

    def run(*arguments: str) -> str:
        return builder("run", "--isolation=chroot", container, *entry, *arguments)

    assert run("-c", "import os; print(os.getuid(), os.getcwd())").splitlines()[-1] == f"1000 {home}"
    run(
        "/app/jobs/pack.py",
        "--output",
        f"{home}/scenes",
        "--synthetic",
        "4",
        "--seed",
        "0",
        "--people",
        "1-2",
    )
    run(
        "/app/jobs/annotate.py", "run", "--input", f"{home}/scenes/shards", "--output", f"{home}/out",
        "--model", "posrefine_tiny", "--weights", "posrefine:tiny_coco", "--input-size", "256",
    )  # fmt: skip
    success = json.loads(run("-c", f"print(open('{home}/out/tables/_SUCCESS.json').read())"))
    assert (success["images"], success["ok"]) == (4, 4)
    assert success["persons"] > 0
