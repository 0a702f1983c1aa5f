from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posrefine.errors import ConfigurationError
from posrefine.training.recipe import TrainRecipe


def test_the_default_schedule_cuts_the_rate_where_dekr_does():
    recipe = TrainRecipe(total_steps=140)
    assert recipe.learning_rate_at(0) == recipe.learning_rate_at(89) == 1e-3
    assert recipe.learning_rate_at(90) == pytest.approx(1e-4)
    assert recipe.learning_rate_at(119) == pytest.approx(1e-4)
    assert recipe.learning_rate_at(120) == pytest.approx(1e-5)


def test_the_warm_up_is_linear():
    recipe = TrainRecipe(total_steps=100, warmup_steps=4)
    assert [recipe.learning_rate_at(step) for step in range(5)] == pytest.approx(
        [0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 1e-3]
    )


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_cosine_falls_from_the_full_rate_to_a_hundredth(total: int, fraction: float):
    recipe = TrainRecipe(total_steps=total, schedule="cosine")
    step = int(fraction * (total - 1))
    assert 1e-5 <= recipe.learning_rate_at(step) <= 1e-3
    assert recipe.learning_rate_at(total) == pytest.approx(1e-5)
    assert recipe.learning_rate_at(step + 1) <= recipe.learning_rate_at(step)


def test_input_sizes_follow_the_run():
    recipe = TrainRecipe(total_steps=10, input_sizes_px=((0.0, 128), (0.5, 256)))
    assert [recipe.input_size_at(step) for step in (0, 4, 5, 9)] == [128, 128, 256, 256]


@pytest.mark.parametrize(
    "changes",
    [
        {"total_steps": 0},
        {"learning_rate": -1.0},
        {"ema_decay": 1.0},
        {"input_sizes_px": ((0.5, 128),)},
        {"input_sizes_px": ((0.0, 128), (0.8, 256), (0.5, 512))},
        {"input_sizes_px": ((0.0, 100),)},
        {"milestones": (-0.1, 0.5)},
        {"milestones": (0.5, 1.1)},
        {"milestones": (float("nan"),)},
        {"learning_rate": float("nan")},
        {"learning_rate": float("inf")},
        {"warmup_steps": -1},
        {"weight_decay": -0.1},
        {"offset_factor": float("nan")},
        {"input_sizes_px": ((0.0, 128), (1.5, 256))},
        {"schedule": "cosin"},
        {"precision": "fp16"},
    ],
)
def test_impossible_recipes_are_refused(changes):
    with pytest.raises(ConfigurationError, match="give"):
        TrainRecipe(**({"total_steps": 10} | changes))
