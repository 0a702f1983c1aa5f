"""The scripts that reproduce published tables run through, with the product's own jobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.annotated import write_json
from support.runs import made_up_set
from support.shared import shared_path, stand_in_fill

from posrefine import build_model, save_weights

ROOT = Path(__file__).resolve().parents[2]


def reproduce(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "reproduce.py"), *arguments],
        # A Ray of its own, whatever else runs on this machine.
        env=os.environ | {"RAY_ADDRESS": "local"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """Of a network that was never trained."""
    shared_path("golden", "stand_in_weights.py")
    save_weights(stand_in_fill(build_model("dekr_w32")), tmp_path / "stand_in.safetensors")
    return f"dekr_w32={tmp_path / 'stand_in.safetensors'}"


@pytest.mark.slow
def test_a_table_is_printed_with_the_published_row_below_the_measured_one(
    tmp_path: Path, weights: str
) -> None:
    annotations: dict[str, Any] = made_up_set(tmp_path / "images", images=3)

    done = reproduce(
        *("coco-val-single", "--weights", weights, "--images", str(tmp_path / "images")),
        *("--annotations", write_json(tmp_path / "truth.json", annotations)),
        *("--output", str(tmp_path / "out"), "--max-images", "2", "--", "--input-size", "64"),
    )

    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    table = lines[lines.index("coco-val-single: coco val2017, single-scale") :]
    metrics = json.loads(
        (tmp_path / "out" / "coco-val-single" / "dekr_w32" / "evaluation" / "metrics.json").read_text()
    )
    assert metrics["images"] == 2
    assert table[2].split()[:4] == ["dekr_w32,", "measured", "here", f"{metrics['AP']:.3f}"]
    assert table[3].split() == ["dekr_w32,", "published", "[1]", "0.680"]
    assert "not measured here" in table[4]


def test_a_network_that_is_not_in_the_table_is_refused_before_anything_runs(tmp_path: Path) -> None:
    done = reproduce(
        *("crowdpose-multi", "--weights", "posrefine_tiny=untrained", "--images", str(tmp_path)),
        *("--annotations", "none.json", "--output", str(tmp_path / "out")),
    )

    assert done.returncode == 2
    assert "posrefine_tiny: not in this table; it has dekr_w32, dekr_w48" in done.stderr
    assert not (tmp_path / "out").exists()
