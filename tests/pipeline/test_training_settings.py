"""What a training's settings mean."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

import pytest

from pipeline.command_line import add_settings, settings_given
from pipeline.training_settings import (
    TRAINING_GROUPS,
    TrainSettings,
    load_train_settings,
    training_command,
)
from posrefine.errors import ConfigurationError

BUNDLED = Path(__file__).parents[2] / "posrefine" / "weights" / "bundled" / "posrefine_tiny.yaml"


def settings(**changes: object) -> TrainSettings:
    return TrainSettings(output="/out", synthetic=10, model="posrefine_tiny", **changes)


@pytest.mark.parametrize(
    ("person_probability", "wanted_px"),
    [(0.0, 128), (0.8, 256)],
    ids=["views of whole images", "views around persons"],
)
def test_whole_images_are_validated_at_the_size_that_shows_persons_as_large_as_the_views_did(
    person_probability, wanted_px
):
    run = settings(input_sizes="0:64,0.5:128", person_probability=person_probability)
    assert run.validation_size(run.recipe(10).input_size_at(run.recipe(10).total_steps - 1)) == wanted_px


@pytest.mark.parametrize(
    "given",
    [
        {"config": BUNDLED, "scene_cache": "scenes", "workers": 2, "worker_cpus": 0.5, "device": "cpu"},
        {"images": "s3://b/my images", "annotations": "a.json", "milestones": "0.5,0.75", "weights": "w.pth"},
        {"synthetic": 10, "input_sizes": "0:64,0.5:128", "seed": 3, "precision": "bfloat16"},
    ],
    ids=["a file", "images", "sizes over the run"],
)
def test_the_command_of_a_card_has_all_that_the_weights_depend_on(given: dict[str, Any]):
    before = load_train_settings(given | {"output": "/out"})
    program, script, *options = shlex.split(training_command(before))
    parser = argparse.ArgumentParser()
    add_settings(parser, TRAINING_GROUPS)
    again = load_train_settings(settings_given(parser.parse_args(options), TRAINING_GROUPS))
    assert (program, script, again.output) == ("python", "jobs/train.py", "OUTPUT")
    elsewhere = {"config": None, "output": "OUTPUT", "scene_cache": None}
    unwatched = {name: getattr(again, name) for name in ("checkpoint_steps", "log_steps", "max_failures")}
    assert again == before.model_copy(update=elsewhere | unwatched)


@pytest.mark.parametrize("first_seed", [8_999_991, 9_000_000, 9_000_499])
def test_scenes_that_are_validated_on_are_not_learnt_from(first_seed: int):
    with pytest.raises(ConfigurationError, match=f"--synthetic-seed {first_seed}: scenes 9000000 to 9000499"):
        load_train_settings({"output": "/out", "synthetic": 10, "synthetic_seed": first_seed})


@pytest.mark.parametrize("first_seed", [8_999_990, 9_000_500])
def test_scenes_beside_those_for_validation_may_be_learnt_from(first_seed: int):
    given = {"output": "/out", "synthetic": 10, "synthetic_seed": first_seed}
    assert load_train_settings(given).synthetic_seed == first_seed
