"""Other tools' own importers, each in an environment of its own: their pins fit neither us nor each other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

_SCRIPTS = Path(__file__).parents[1] / "importers"
_UV = Path(sys.executable).with_name("uv")
_INSTALL_S, _READ_S = 600, 300


def read_by(script: str, requirement: str, *arguments: Path) -> Any:
    """What a script of `tests/importers` prints as JSON, run with the package `requirement`.

    Args:
        script: its name.
        requirement: of the tool, pinned; installed by uv, which keeps it in its cache.
        arguments: of the script.
    """
    command = [_UV, "run", "--quiet", "--no-project", "--isolated", "--python", sys.executable]
    command += ["--with", requirement, "python"]
    there = subprocess.run(
        [*command, "-c", ""], capture_output=True, text=True, timeout=_INSTALL_S, check=False
    )
    if there.returncode:
        pytest.skip(f"{requirement} cannot be had here: {there.stderr}")
    return _read([*command, _SCRIPTS / f"{script}.py", *arguments], dict(os.environ))


def read_beside_our_torch(script: str, packages: list[str], folder: Path, *arguments: Path) -> Any:
    """The same for a tool that needs Torch: its packages alone go to `folder`, and use this environment's."""
    install = [_UV, "pip", "install", "--quiet", "--no-deps", "--python", sys.executable]
    there = subprocess.run(
        [*install, "--target", folder, *packages],
        capture_output=True,
        text=True,
        timeout=_INSTALL_S,
        check=False,
    )
    if there.returncode:
        pytest.skip(f"{', '.join(packages)} cannot be had here: {there.stderr}")
    environment = os.environ | {"PYTHONPATH": str(folder), "YOLO_CONFIG_DIR": str(folder)}
    return _read([sys.executable, _SCRIPTS / f"{script}.py", *arguments], environment)


def _read(command: list[Any], environment: dict[str, str]) -> Any:
    environment.pop("PYTHONHOME", None)
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=_READ_S, check=False, env=environment, cwd="/"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])
