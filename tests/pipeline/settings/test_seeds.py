"""Seeds are numbers that everything which draws, and every record, can hold."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.packing.sources import ANNOTATIONS_PER_IMAGE, SceneSource
from pipeline.settings.base import LARGEST_NUMBER, Settings, groups_of, public_name
from pipeline.settings.jobs import ALL_SETTINGS
from pipeline.settings.packing import ANNOTATION_IDS_PER_SCENE, PackSettings
from pipeline.settings.sources import load_settings
from pipeline.settings.train_score import ScoreSettings
from posrefine.errors import ConfigurationError
from posrefine.skeletons import COCO
from posrefine.synthetic import EASY
from posrefine.training.score import ScoreRecipe

WITH_SEEDS = [
    (kind, field)
    for kind in ALL_SETTINGS
    for _, fields in groups_of(kind)
    for field in fields
    if field.rpartition("_")[2] == "seed"
]
SCORING = {"run": "/r", "annotations": "a", "output": "o"}


def test_every_job_that_draws_is_met():
    named = {(kind.__name__, field) for kind, field in WITH_SEEDS}
    assert {("SelectSettings", "seed"), ("TasksSettings", "seed"), ("PackSettings", "seed")} <= named
    assert {("TrainSettings", "seed"), ("TrainSettings", "synthetic_seed")} <= named
    assert len(named) == 8


@pytest.mark.parametrize(("kind", "field"), WITH_SEEDS, ids=str)
@pytest.mark.parametrize("seed", [-1, LARGEST_NUMBER + 1, 10**27, 10**42])
def test_a_seed_that_not_everything_can_hold_is_refused_by_name(kind: type[Settings], field: str, seed: int):
    name = public_name(kind, field)
    with pytest.raises(ConfigurationError, match=f"setting {name}: '{seed}' will not do"):
        load_settings(kind, {name: str(seed)}, {})


def test_the_largest_seed_is_one_for_torch_and_numpy_too():
    settings = load_settings(ScoreSettings, {**SCORING, "seed": str(LARGEST_NUMBER)}, {})
    assert ScoreRecipe(seed=settings.seed).seed == 2**53
    torch.Generator().manual_seed(settings.seed)
    np.random.default_rng([settings.seed, 1])


def test_packed_scenes_have_ids_that_every_reader_of_json_has_exactly():
    assert ANNOTATION_IDS_PER_SCENE == ANNOTATIONS_PER_IMAGE
    with pytest.raises(ConfigurationError, match=rf"--seed {2**53}: .* give (\d+) at most") as caught:
        load_settings(PackSettings, {"output": "/o", "synthetic": "2", "seed": str(2**53)}, {})
    highest = int(str(caught.value).split()[-3])
    settings = load_settings(PackSettings, {"output": "/o", "synthetic": "2", "seed": str(highest)}, {})
    source = SceneSource(COCO, (EASY,), 2, settings.seed)
    (last,) = source.images(1, 1, storage=None)
    ids = [person["id"] for person in last.annotations]
    assert max(ids) // ANNOTATIONS_PER_IMAGE == last.image["id"] == highest + 2
    assert max(ids) <= LARGEST_NUMBER
    with pytest.raises(ConfigurationError):
        load_settings(PackSettings, {"output": "/o", "synthetic": "2", "seed": str(highest + 1)}, {})
