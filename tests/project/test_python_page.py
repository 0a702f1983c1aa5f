"""Every code block of the pages on Python and the command does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import posrefine
from posrefine.synthetic import EASY, render_scene

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    Image.fromarray(render_scene(8_000_001, EASY).image).save(tmp_path / "photo.jpg", quality=95)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


def test_the_python_of_the_page_runs_from_top_to_bottom(folder: Path):
    pytest.importorskip("supervision")
    names: dict[str, object] = {}
    for block in blocks(PAGE, "python"):
        exec(compile(block, "docs/python.md", "exec"), names)
    assert (folder / "drawn.jpg").exists()
    assert isinstance(names["by_hand"], posrefine.Poses)


def test_the_two_lines_of_the_readme_run(folder: Path):
    (block,) = [b for b in blocks((ROOT / "README.md").read_text(), "python") if "posrefine.load" in b]
    # The public checkpoint is not to be downloaded by a test.
    exec(compile(block.replace("mmpose:dekr_w32_coco", "posrefine:tiny_coco"), "README.md", "exec"), {})
    assert (folder / "drawn.jpg").exists()


@pytest.mark.slow
def test_the_commands_of_the_page_run(folder: Path):
    pytest.importorskip("onnxscript")
    command = folder / "bin" / "posrefine"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m posrefine "$@"\n')
    command.chmod(0o755)
    environment = {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"}
    for block in blocks(PAGE, "sh"):
        subprocess.run(["sh", "-e", "-c", block], env=environment, check=True)
    for made in ("drawn/photo.jpg", "poses.json", "tiny.onnx"):
        assert (folder / made).exists()
