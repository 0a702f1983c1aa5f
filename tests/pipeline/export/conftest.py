"""A run of ten photographs with persons, and where they really are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.runs import made_up_set, noisy_predictions, write_run

from pipeline.output.schema import ImageResult
from posrefine.errors import ImageStatus
from posrefine.poses import Poses
from posrefine.skeletons import COCO

JOINTS = COCO.num_joints


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("set")
    return folder, made_up_set(folder / "images", images=10)


@pytest.fixture(scope="module")
def images(truth: tuple[Path, dict[str, Any]]) -> list[ImageResult]:
    """Ten images: one failed, one without persons, one with a person beyond the frame."""
    folder, annotations = truth
    rows = noisy_predictions(annotations, folder / "images")
    rows[1] = replace(rows[1], status=ImageStatus.CORRUPT, error="broken", poses=None)
    rows[2] = replace(rows[2], poses=Poses.none(JOINTS))
    crossing = np.linspace([-30.0, 100.0], [90.0, 600.0], JOINTS, dtype=np.float32)
    rows[3] = replace(
        rows[3],
        poses=Poses(
            keypoints=np.stack([crossing, crossing - 2000]),
            keypoint_scores=np.tile(np.linspace(0.05, 0.9, JOINTS, dtype=np.float32), (2, 1)),
            scores=np.array([0.9, 0.4], np.float32),
            spread_px=np.full((2, JOINTS), np.nan, np.float32),
        ),
    )
    return rows


@pytest.fixture(scope="module")
def run(images: list[ImageResult], tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_run(tmp_path_factory.mktemp("run"), [images[:4], images[4:]])
