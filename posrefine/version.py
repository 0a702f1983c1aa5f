"""Which code runs: the version, and of a checkout or an image the commit or a digest of the sources."""

from __future__ import annotations

import hashlib
import subprocess
from functools import cache
from pathlib import Path

from posrefine import __version__

__all__ = ["code_version"]

_PACKAGES = ("posrefine", "pipeline", "jobs")
_GIT_TIMEOUT_S = 5.0


@cache
def code_version() -> str:
    """Version of the code that runs, as PEP 440 has it.

    `0.2.0` for an installed wheel, `0.2.0+g1a2b3c4d5e6f` for a checkout as it was committed, and
    `0.2.0+sources.1a2b3c4d5e6f` (the start of a SHA-256 over the Python files) for a checkout with changes,
    or a folder without git's own, such as an image or what `ray job submit` uploads.
    """
    return _version_of(Path(__file__).resolve().parents[1])


def _version_of(root: Path) -> str:
    """Of the code in `root`, the folder that holds the packages."""
    # A wheel installs the library alone, without the file that says how to build it.
    if not (root / "pyproject.toml").is_file():
        return __version__
    return f"{__version__}+{_commit(root) or f'sources.{_digest(root)}'}"


def _commit(root: Path) -> str | None:
    """The commit that the packages are of; None where they differ from it, or there is no git."""
    if not (root / ".git").exists():
        return None
    changes = _git(root, "status", "--porcelain", "--", *_PACKAGES)
    commit = _git(root, "rev-parse", "--short=12", "HEAD")
    return f"g{commit}" if changes == "" and commit else None


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _digest(root: Path) -> str:
    digest = hashlib.sha256()
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode())
            digest.update(content)
    return digest.hexdigest()[:12]
