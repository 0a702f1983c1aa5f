"""A copy of the checkout with an environment in it, where a page says `make` or `cd /srv/posrefine`."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from support.code_blocks import ROOT

__all__ = ["copied_checkout", "users_environment"]

FILES = ("Makefile", "pyproject.toml", "constraints.txt", "README.md")
FOLDERS = ("jobs", "pipeline", "posrefine", "benchmarks", "tests")
OF_MAKE = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "VENV", "PYTHON")


def copied_checkout(folder: Path) -> Path:
    """What jobs and Makefile need, with `.venv`: the environment of the suite, which counts as installed.

    It is made of links. Its marker files are newer than what they depend on, so that make installs nothing.
    """
    folder.mkdir()
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    environment = folder / ".venv"
    environment.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if not entry.name.startswith("."):
            (environment / entry.name).symlink_to(entry)
    for marker in (".installed", ".installed-dev"):
        (environment / marker).touch()
    return folder


def users_environment(checkout: Path) -> dict[str, str]:
    """Of a user's shell there: nothing of the make, pytest and Ray that this process may be part of.

    The environment has this checkout's packages installed, and the copy's come before them.
    """
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in OF_MAKE and not name.startswith(("PYTEST_", "RAY_ADDRESS"))
    }
    return inherited | {"PYTHONPATH": str(checkout)}
