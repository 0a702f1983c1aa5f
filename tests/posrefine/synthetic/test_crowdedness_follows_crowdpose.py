from __future__ import annotations

import numpy as np
import pytest

from posrefine.errors import ConfigurationError
from posrefine.synthetic import EASY, HARD, MEDIUM, SceneSpec, crowd_index, render_scene


def _points(*xyv: tuple[float, float, float]) -> np.ndarray:
    return np.array(xyv, np.float64)


def test_worked_example():
    # Two joints each. One of B's joints is in A's box, none of A's is in B's: (1/2 + 0/2) / 2.
    first = _points((10, 10, 2), (20, 20, 2))
    second = _points((25, 25, 1), (60, 60, 2))
    boxes = np.array([[0, 0, 30, 30], [24, 24, 50, 50]], np.float64)
    assert crowd_index(np.stack([first, second]), boxes) == pytest.approx(0.25)


def test_unlabelled_joints_do_not_count():
    first = _points((10, 10, 2), (20, 20, 0))
    second = _points((25, 25, 0), (28, 28, 1))
    boxes = np.array([[0, 0, 30, 30], [24, 24, 50, 50]], np.float64)
    assert crowd_index(np.stack([first, second]), boxes) == pytest.approx(0.5)


def test_nobody_and_one_person_alone_have_index_zero():
    box = np.array([[0, 0, 30, 30]], np.float64)
    assert crowd_index(np.zeros((0, 14, 3)), np.zeros((0, 4))) == 0.0
    assert crowd_index(_points((10, 10, 2), (20, 20, 2))[None], box) == 0.0


def test_index_is_at_most_one():
    everyone_at_one_spot = np.tile(_points((10, 10, 2), (20, 20, 2)), (5, 1, 1))
    assert crowd_index(everyone_at_one_spot, np.tile([0.0, 0.0, 30.0, 30.0], (5, 1))) == 1.0


@pytest.mark.parametrize(
    ("spec", "low", "high"),
    [(EASY, 0.0, 0.2), (MEDIUM, 0.2, 0.8), (HARD, 0.8, 1.01)],
    ids=["easy", "medium", "hard"],
)
def test_presets_stay_in_their_split(spec, low, high):
    for seed in range(500, 512):
        scene = render_scene(seed, spec)
        assert low <= scene.crowd_index < high
        assert spec.people[0] <= len(scene.persons) <= spec.people[1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"people": (0, 3)},
        {"people": (4, 2)},
        {"width_px": 8},
        {"person_height": (0.5, 0.2)},
        {"crowd_index": (0.8, 0.8)},
        {"crowd_index": (0.2, 0.8), "people": (1, 4)},
    ],
)
def test_impossible_specs_are_refused(wrong):
    with pytest.raises(ConfigurationError):
        SceneSpec(**wrong)
