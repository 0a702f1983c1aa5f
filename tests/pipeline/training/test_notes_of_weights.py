"""What must be known of weights is said of those that were trained on from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.settings.training import TrainSettings
from pipeline.storage import Storage
from pipeline.training.job import RENDERED_NOTE, TrainingJob
from posrefine import COCO, build_model, load_weights, save_weights
from posrefine.synthetic import SCENE_KINDS
from posrefine.training.mixture import Mixture, Part
from posrefine.training.synthetic_source import SyntheticSource
from posrefine.weights import WeightsInfo

STARTED = "these weights have met a hundred photographs"


def note_of(start: WeightsInfo | None, **settings: object) -> str | None:
    """Of weights trained with these settings, from these."""
    told = TrainSettings.model_validate({"output": "out"} | settings)
    model = build_model("posrefine_tiny")
    scenes = Mixture((Part(SyntheticSource(COCO, SCENE_KINDS["train"], 8, 10_000_000, None), 1.0),))
    return TrainingJob(told, told.recipe(8), model, scenes, "", None, {}, Storage(), start).note


@pytest.fixture(scope="module")
def noted(tmp_path_factory: pytest.TempPathFactory) -> WeightsInfo:
    path = tmp_path_factory.mktemp("weights") / "noted.safetensors"
    model = build_model("posrefine_tiny")
    save_weights(model, path, {"variant": "posrefine_tiny", "skeleton": "coco", "note": STARTED})
    return load_weights(model, path)


def test_random_weights_trained_on_scenes_have_met_rendered_people_alone():
    assert note_of(None, synthetic="8") == RENDERED_NOTE


def test_weights_trained_on_with_scenes_keep_the_note_of_those_they_started_from(
    noted: WeightsInfo, tmp_path: Path
):
    assert note_of(noted, synthetic="8", weights="noted.safetensors") == STARTED
    model = build_model("posrefine_tiny")
    save_weights(model, tmp_path / "published.safetensors", {"variant": "posrefine_tiny", "skeleton": "coco"})
    published = load_weights(model, tmp_path / "published.safetensors")
    assert note_of(published, synthetic="8", weights="published.safetensors") is None


def test_photographs_and_words_of_ones_own_end_the_note(noted: WeightsInfo):
    photographs = {"images": "images", "annotations": "labels.json"}
    assert note_of(noted, **photographs) is None
    assert note_of(noted, synthetic="8", note="ours") == "ours"
