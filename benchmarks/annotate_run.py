"""A run of the annotate job on a tar of photographs, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "annotate_tar"]

ROOT = Path(__file__).parents[1]


def annotate_tar(
    tar: Path, images: int, output: Path, model: str, at_once: int, *settings: str
) -> dict[str, Any]:
    """The run's `outcome.json`; units are of `at_once` of the tar's images, about."""
    unit_bytes = tar.stat().st_size * at_once // images
    command = [sys.executable, "jobs/annotate.py", "run", "--input", str(tar), "--output", str(output)]
    network = ["--model", model, "--weights", "untrained", "--unit-bytes", str(unit_bytes)]
    subprocess.run([*command, *network, *settings], check=True, cwd=ROOT)
    outcome: dict[str, Any] = json.loads((output / "outcome.json").read_text())
    return outcome
