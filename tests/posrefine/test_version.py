"""The version tells the code that runs, not what is installed beside it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from posrefine import __version__
from posrefine.version import _version_of, code_version


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "posrefine"\n')
    for package in ("posrefine", "pipeline", "jobs"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "a.py").write_text("pass\n")
    return tmp_path


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.com"]
    done = subprocess.run(["git", *who, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_folder_without_git_is_known_by_its_sources(checkout: Path):
    before = _version_of(checkout)
    assert before.startswith(f"{__version__}+sources.")
    (checkout / "README.md").write_text("words")
    assert _version_of(checkout) == before
    (checkout / "jobs" / "a.py").write_text("pass  \n")
    assert _version_of(checkout) not in (before, __version__)


def test_a_checkout_is_known_by_its_commit_until_its_code_is_changed(checkout: Path):
    git(checkout, "init", "-q")
    git(checkout, "add", "-A")
    git(checkout, "commit", "-qm", "all")
    commit = git(checkout, "rev-parse", "HEAD")
    assert _version_of(checkout) == f"{__version__}+g{commit[:12]}"
    (checkout / "notes.txt").write_text("not code")
    assert _version_of(checkout) == f"{__version__}+g{commit[:12]}"
    (checkout / "posrefine" / "b.py").write_text("new")
    assert _version_of(checkout).startswith(f"{__version__}+sources.")


def test_an_installed_wheel_is_known_by_its_number(tmp_path: Path):
    (tmp_path / "posrefine").mkdir()
    assert _version_of(tmp_path) == __version__


def test_the_code_of_this_project_has_such_a_version():
    assert "+g" in code_version() or "+sources." in code_version()
