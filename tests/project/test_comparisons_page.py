"""What the documentation compares the project with is measured, and does the same work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import alternatives
import cv2
import numpy as np
import plain_test_loop
import pytest
from support.shared import load_golden, shared_path, stand_in_fill

from posrefine.build import build_model

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
GOLDEN = [f"poses_dekr_w32_coco_single_{image:012d}" for image in (86, 294)]


def test_the_table_of_the_page_is_that_of_the_stored_result() -> None:
    page = alternatives.PAGE.read_text()
    assert alternatives.with_table(page) == page


@pytest.mark.parametrize("name", GOLDEN)
def test_the_plain_test_loop_finds_the_published_codes_poses(name: str) -> None:
    golden = load_golden(name)
    weights = stand_in_fill(build_model("dekr_w32")).eval().state_dict()
    path = shared_path("data", "coco67", "images", str(golden["image"]))
    image = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)

    found = plain_test_loop.poses(weights, cv2.cvtColor(image, cv2.COLOR_BGR2RGB), 256)

    expected = golden["keypoints"][..., :2]
    assert found.shape == expected.shape
    assert np.abs(ordered(found) - ordered(expected)).max() < 0.01


def ordered(poses: np.ndarray) -> np.ndarray:
    """By their numbers: persons of nearly one score stand in either order."""
    return poses[np.lexsort(poses.reshape(len(poses), -1).T)]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["plain_loop", "ray_data"])
def test_another_way_takes_every_photograph(way: str, tmp_path: Path) -> None:
    alternatives.write(tmp_path / "photographs", 3)

    ran = subprocess.run(
        [
            *(sys.executable, str(BENCHMARKS / "other_ways.py"), way),
            *(str(tmp_path / "photographs"), "posrefine_tiny" if way == "ray_data" else "dekr_w32", "64"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    assert '"images": 3' in ran.stdout.splitlines()[-1]
