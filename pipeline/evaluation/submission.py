"""The archive that COCO's test-dev server takes."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

from posrefine.errors import ConfigurationError

__all__ = ["server_name", "write_submission"]


def server_name(name: str) -> str:
    """The name, without suffix, that the server wants for results of an algorithm called `name`.

    Raises:
        ConfigurationError: `name` is not of letters, digits, dots and hyphens alone.
    """
    if not re.fullmatch(r"[A-Za-z0-9.-]+", name):
        raise ConfigurationError(
            f"test-dev name {name!r}: expected letters, digits, dots and hyphens, as in DEKR-w32"
        )
    return f"person_keypoints_test-dev2017_{name}_results"


def write_submission(name: str, results: Path, path: Path) -> None:
    """Write a zip to `path` that holds the results under the server's name for them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(results, f"{server_name(name)}.json")
