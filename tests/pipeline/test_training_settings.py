"""What a training's settings mean."""

from __future__ import annotations

import pytest

from pipeline.training_settings import TrainSettings


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
