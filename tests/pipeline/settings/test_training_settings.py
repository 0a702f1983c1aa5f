"""What a training's settings mean."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from typing import Any

import pytest

from pipeline.settings.command_line import add_settings, settings_given
from pipeline.settings.sources import load_settings
from pipeline.settings.training import TrainSettings, training_command
from posrefine.errors import ConfigurationError

BUNDLED = Path(__file__).parents[3] / "posrefine" / "weights" / "bundled" / "posrefine_tiny.yaml"


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
        {
            "images": "a,b",
            "annotations": "a.json,b.json",
            "image_shares": "0.5,0.2",
            "synthetic": "20,30",
            "synthetic_shares": "0.2,0.1",
            "scene_kinds": "train,hard",
            "val_names": "apart.txt",
            "views": 5,
            "val_flip": True,
            "publish": "best",
            "colour": 0.5,
            "paste": 0.1,
            "note": "made of a and b",
        },
    ],
    ids=["a file", "images", "sizes over the run", "several sources"],
)
def test_the_command_of_a_card_has_all_that_the_weights_depend_on(given: dict[str, Any]):
    before = load_settings(TrainSettings, given | {"output": "/out"})
    program, script, *options = shlex.split(training_command(before))
    parser = argparse.ArgumentParser()
    add_settings(parser, TrainSettings)
    again = load_settings(TrainSettings, settings_given(parser.parse_args(options), TrainSettings))
    assert (program, script, again.output) == ("python", "jobs/train.py", "OUTPUT")
    elsewhere = {"config": None, "output": "OUTPUT", "scene_cache": None}
    unwatched = {name: getattr(again, name) for name in ("checkpoint_steps", "log_steps", "max_failures")}
    assert again == before.model_copy(update=elsewhere | unwatched)


@pytest.mark.parametrize("first_seed", [8_999_991, 9_000_000, 9_000_499])
def test_scenes_that_are_validated_on_are_not_learnt_from(first_seed: int):
    with pytest.raises(ConfigurationError, match=f"--synthetic-seed {first_seed}: scenes 9000000 to 9000499"):
        load_settings(TrainSettings, {"output": "/out", "synthetic": 10, "synthetic_seed": first_seed})


@pytest.mark.parametrize("first_seed", [8_999_990, 9_000_500])
def test_scenes_beside_those_for_validation_may_be_learnt_from(first_seed: int):
    given = {"output": "/out", "synthetic": 10, "synthetic_seed": first_seed}
    assert load_settings(TrainSettings, given).synthetic_seed == first_seed


def test_one_source_may_be_given_as_a_plain_value_and_several_as_a_list():
    one = load_settings(
        TrainSettings, {"output": "/out", "images": "a", "annotations": "a.json", "image_shares": 1}
    )
    assert (one.images, one.annotations, one.image_shares) == (("a",), ("a.json",), (1.0,))
    several = load_settings(
        TrainSettings, {"output": "/out", "synthetic": [20, 30], "scene_kinds": ["easy", "hard"]}
    )
    assert (several.synthetic, several.scene_kinds) == ((20, 30), ("easy", "hard"))


def test_a_run_of_so_many_views_has_as_many_steps_as_these_need():
    assert settings(views=1000, batch_size=32).recipe(10).total_steps == 31
    assert settings(epochs=3, batch_size=2).recipe(10).total_steps == 15


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"images": "a,b", "annotations": "a.json"}, "--images and --annotations belong together: 2 and 1"),
        ({"image_shares": "0.5,0.5"}, "--image-shares 0.5,0.5: give one number above 0 for each of the 1"),
        ({"image_shares": "0"}, "--image-shares 0: give one number above 0"),
        ({"synthetic": 5, "image_shares": 0.7}, "--image-shares and --synthetic-shares belong together"),
        ({"synthetic": "5,6,7", "scene_kinds": "hard,easy"}, "--scene-kinds: give one, or one for each"),
        ({"paste": 0.5}, "--paste puts persons of --synthetic into --images: give both"),
        ({"val_share": 0.1, "val_images": "v", "val_annotations": "v.json"}, "they go without --val-images"),
        ({"images": (), "annotations": (), "synthetic": 5, "val_share": 0.1}, "keep a part of --images"),
        ({"scene_kinds": "crowded"}, "scene_kinds"),
        ({"colour": 1.5}, "colour"),
    ],
)  # fmt: skip
def test_sources_that_do_not_fit_together_are_refused(given: dict[str, Any], words: str):
    with pytest.raises(ConfigurationError, match=words):
        load_settings(TrainSettings, {"output": "/out", "images": "a", "annotations": "a.json"} | given)


def test_beside_photographs_there_may_be_other_numbers_of_scenes_to_validate_on():
    photographs = {"images": ("a",), "annotations": ("a.json",), "val_share": 0.1, "val_count": 30}
    assert settings(**photographs).validation_scenes == 30
    assert settings(**photographs, val_scenes=4).validation_scenes == 4
    assert settings(**photographs, val_scenes=0, synthetic_seed=9_000_000).validation_scenes == 0
    assert settings(val_count=30, val_scenes=4).validation_scenes == 30


@pytest.mark.parametrize(
    "given",
    [
        {"learning_rate": "inf"},
        {"milestones": "nan"},
        {"scale_range": "nan,1"},
        {"person_size_range": "1,inf"},
        {"input_sizes": "nan:64"},
        {"synthetic_shares": "nan"},
    ],
    ids=lambda given: next(iter(given)),
)
def test_what_is_no_finite_number_is_no_setting_of_a_training(given: dict[str, Any]):
    needed = {"output": "/out", "synthetic": 10, "model": "posrefine_tiny"}
    with pytest.raises(ConfigurationError, match=f"setting {next(iter(given))}: .*finite number"):
        load_settings(TrainSettings, needed | given, {})


@pytest.mark.parametrize("name", ["scale_range", "person_size_range"])
@pytest.mark.parametrize("given", ["0,1", "-2,-1", "3,2"])
def test_a_range_of_sizes_rises_above_zero(name: str, given: str):
    with pytest.raises(ConfigurationError, match=f"setting {name}: .*two numbers above 0, the smaller one"):
        load_settings(TrainSettings, {"output": "/out", "synthetic": 10, name: given}, {})


@pytest.mark.parametrize("given", ["-0.1,0.5", "0.5,1.5"])
def test_milestones_are_fractions_of_the_run(given: str):
    with pytest.raises(ConfigurationError, match=r"setting milestones: .*(greater|less) than or equal to"):
        load_settings(TrainSettings, {"output": "/out", "synthetic": 10, "milestones": given}, {})
