"""What a wheel installs: the library and its command alone, which run without what the jobs need."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from posrefine import __version__
from posrefine.synthetic import EASY, render_scene

ROOT = Path(__file__).parents[2]

BLOCKED = (
    *(
        "ray",
        "pyarrow",
        "s3fs",
        "fsspec",
        "pydantic_settings",
        "simplejpeg",
        "rich",
        "yaml",
        "tensorboard",
        "deltalake",
        "orjson",
    ),
    *("pipeline", "jobs", "cv2", "onnx", "supervision"),
)
SITECUSTOMIZE = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED}:
            raise ImportError(f"{{name}} is not there")

sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    for room in ("posrefine", "pipeline", "jobs"):
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), str(source))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--no-index", "--target", str(folder), str(wheel))
    (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
    return folder


def pip(*arguments: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", *arguments], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def run(installed: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    ended = subprocess.run(
        command, cwd=installed.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_it_holds_the_library_its_weights_and_its_command_and_nothing_else(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"posrefine", f"posrefine-{__version__}.dist-info"}
    for source in (ROOT / "posrefine").rglob("*.py"):
        assert str(source.relative_to(ROOT)) in names
    assert "posrefine/py.typed" in names
    assert "posrefine/weights/bundled/posrefine_tiny_coco.safetensors" in names


@pytest.mark.slow
def test_from_an_empty_folder_it_finds_persons_without_what_the_jobs_need(installed: Path):
    photograph = installed.parent / "photo.png"
    Image.fromarray(render_scene(8_000_001, EASY).image).save(photograph)
    where = run(installed, sys.executable, "-c", "import posrefine; print(posrefine.__file__)")
    assert Path(where.strip()).is_relative_to(installed)
    said = run(installed, str(installed / "bin" / "posrefine"), "predict", str(photograph), "--device", "cpu")
    assert said.startswith(f"{photograph}: ")
    assert "scores 0." in said
    version = run(installed, sys.executable, "-m", "posrefine", "--version")
    assert version == f"posrefine {__version__}\n"
