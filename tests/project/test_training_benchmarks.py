"""The scripts that train and score the small network do what they say, once, and mix no two settings."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from posrefine import COCO, build_model, save_weights
from posrefine.modeling.score_net import ScoreNet

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def ablation(store: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    small = ("--input-size", "64", "--scenes", "4", "--held-out", "2")
    return run("ablation.py", *small, *arguments, "--store", str(store))


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / script), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_four_networks_are_trained_for_every_seed_once(tmp_path: Path) -> None:
    store = tmp_path / "ablation.json"

    first = ablation(store, "--steps", "2", "--seeds", "1")
    assert first.returncode == 0, first.stderr[-3000:]
    before = json.loads(store.read_text())["rows"]
    second = ablation(store, "--steps", "2", "--seeds", "2")

    rows = json.loads(store.read_text())["rows"]
    names = ["plain", "+ DCM", "+ HSM", "+ DCM + HSM"]
    assert [(row["network"], row["seed"]) for row in rows] == [
        (name, seed) for seed in (0, 1) for name in names
    ]
    assert rows[:4] == before
    plain, dcm, hsm, both = (row["parameters"] for row in before)
    assert plain < dcm < both
    assert plain < hsm
    assert len([line for line in second.stdout.splitlines() if "| 2 |" in line]) == 4
    assert "0.000 ± 0.000" in second.stdout

    other = ablation(store, "--steps", "3", "--seeds", "1")
    assert other.returncode == 1
    assert "name another --store" in other.stderr


@pytest.mark.slow
def test_weights_are_scored_in_every_test_on_scenes_that_are_not_trained_on(
    tmp_path: Path,
) -> None:
    save_weights(build_model("posrefine_tiny"), tmp_path / "new.safetensors")
    save_weights(ScoreNet(COCO), tmp_path / "score.safetensors")

    done = run(
        *("held_out.py", "--weights", str(tmp_path / "new.safetensors"), "--scenes", "3"),
        *("--score-weights", str(tmp_path / "score.safetensors"), "--store", str(tmp_path / "stored.json")),
    )

    assert done.returncode == 0, done.stderr[-3000:]
    stored = json.loads((tmp_path / "stored.json").read_text())
    assert (stored["scenes"], stored["first_seed"], stored["input_size_px"]) == (3, 8_000_000, 256)
    assert set(stored["metrics"]) == {
        "one view",
        "flip test",
        "flip and multi-scale test",
        "flip test, official protocol",
        "flip test, rescored",
        "flip and multi-scale test, rescored",
    }
    for metrics in stored["metrics"].values():
        assert len(metrics) == 10
        assert all(-1 <= value <= 1 for value in metrics.values())
