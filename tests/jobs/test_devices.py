"""`--device auto|cpu|cuda` is one setting: the same words, meaning and refusal in every job."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.annotation import annotate, some_images, write_images
from support.ray_cluster import started_cluster

import pipeline.settings
from jobs.annotate import main as annotate_job
from jobs.train import main as train
from pipeline.settings.base import Device, Settings
from posrefine.command.main import main as posrefine

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Without a GPU."""
    with started_cluster({}) as address:
        yield address


@pytest.fixture(scope="module")
def annotated(cluster: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two images, of which one failed, in `out`."""
    folder = tmp_path_factory.mktemp("annotated")
    assert annotate(write_images(folder / "in", some_images(2)), str(folder / "out"), "--device", "cpu") == 0
    return folder


def _run(folder: Path) -> int:
    return annotate(str(folder / "in"), str(folder / "another"), "--device", "cuda")


def _run_in_shares(folder: Path) -> int:
    shares = ["--num-gpus-per-actor", "0.5", "--num-cpus-per-actor", "1"]
    return annotate(str(folder / "in"), str(folder / "another"), "--device", "cuda", *shares)


def _retry_failed(folder: Path) -> int:
    return annotate_job(["retry-failed", "--output", str(folder / "out"), "--device", "cuda"])


def _replay(folder: Path) -> int:
    return annotate_job(
        ["replay", "--output", str(folder / "out"), "--unit", "u00000000", "--device", "cuda"]
    )


def _train(folder: Path) -> int:
    small = ["--model", "posrefine_tiny", "--input-sizes", "64", "--batch-size", "2", "--epochs", "1"]
    return train([*small, "--synthetic", "2", "--output", str(folder / "trained"), "--device", "cuda"])


def _predict(folder: Path) -> int:
    image = folder / "image.png"
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(image)
    return posrefine(["predict", str(image), "--device", "cuda"])


@pytest.mark.parametrize("way", [_run, _run_in_shares, _retry_failed, _replay, _train, _predict])
def test_a_gpu_where_there_is_none_is_refused_in_the_same_words_by_every_job(
    way: Callable[[Path], int], annotated: Path, capsys: pytest.CaptureFixture[str]
):
    assert way(annotated) == 2
    said = capsys.readouterr().err
    assert "device 'cuda' cannot be used here (" in said
    assert "); choose auto, cpu" in said


def test_every_job_that_computes_with_a_network_takes_the_same_devices():
    """Whatever setting is called `device` is this one, with this default."""
    for module in pkgutil.iter_modules(pipeline.settings.__path__, "pipeline.settings."):
        importlib.import_module(module.name)
    kinds, found = [Settings], {}
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        if "device" in kind.model_fields:
            found[kind.__name__] = kind.model_fields["device"]
    assert {"RunSettings", "SyncSettings", "RetrySettings", "ReplaySettings", "TrainSettings"} <= found.keys()
    for name, field in found.items():
        assert (field.annotation, field.default) == (Device, "auto"), name


def test_devices_are_chosen_in_one_place():
    """Nowhere else is it asked whether Torch can use a GPU."""
    asks = set()
    for room in ("posrefine", "pipeline", "jobs"):
        for source in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(source.read_text())):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.cuda.is_available":
                    asks.add(str(source.relative_to(ROOT)))
    assert asks == {"posrefine/inference/fast/device.py"}
