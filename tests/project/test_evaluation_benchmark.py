"""What the documentation says about the speed of the evaluation is what was stored when it was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import evaluation_table
import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_the_table_of_the_documentation_is_that_of_the_stored_results() -> None:
    page = evaluation_table.PAGE.read_text()

    assert evaluation_table.with_table(page, json.loads(evaluation_table.STORE.read_text())) == page


@pytest.mark.slow
def test_the_benchmark_evaluates_what_it_makes_and_agrees_with_pycocotools(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    keypoints = np.concatenate([rng.integers(0, 400, (30, 17, 2)), np.full((30, 17, 1), 2)], axis=2)
    np.savez(
        tmp_path / "source.npz",
        image_id=np.arange(10),
        wh=np.full((10, 2), 480),
        person_image=np.repeat(np.arange(10), 3),
        bbox=np.tile([50.0, 50.0, 300.0, 200.0], (30, 1)),
        keypoints=keypoints,
    )

    subprocess.run(
        [
            *(sys.executable, str(BENCHMARKS / "evaluation.py"), "--source", str(tmp_path / "source.npz")),
            *("--images", "25", "--variants", "numbers", "everything_on_ray"),
            *("--store", str(tmp_path / "stored.json")),
        ],
        check=True,
        capture_output=True,
    )

    (row,) = json.loads((tmp_path / "stored.json").read_text())
    assert (row["images"], row["persons"], row["detections"]) == (25, 75, 125)
    assert row["largest_difference"] < 1e-12
    assert row["everything_on_ray"]["peak_bytes"] > row["numbers"]["peak_bytes"] > 0
    assert row["everything_on_ray"]["cpu_seconds"] > row["numbers"]["cpu_seconds"] > 0
