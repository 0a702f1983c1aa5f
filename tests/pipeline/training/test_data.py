from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import ray
import torch
from support.training import small_recipe, small_stream

from pipeline.training.data import decode_views, encode_views, rank_batches
from posrefine.skeletons import COCO
from posrefine.synthetic import SceneSpec
from posrefine.training.synthetic_source import SyntheticSource

# Ray's own use of its settings.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")


@pytest.mark.parametrize("persons", [0, 1, 3])
def test_views_survive_the_way_through_the_object_store(persons: int):
    views = small_stream(small_recipe(batch_size=3), persons).views(1)
    assert views[0].ignored.any()
    for view, arrived in zip(views, decode_views(encode_views(views)), strict=True):
        for name in ("pixels", "keypoints", "areas_px2", "diagonals_px", "ignored"):
            np.testing.assert_array_equal(getattr(arrived, name), getattr(view, name))
            assert getattr(arrived, name).dtype == getattr(view, name).dtype


def test_ray_data_gives_the_batches_of_the_stream_in_order_from_any_step(cluster: str):
    scenes = SyntheticSource(COCO, (SceneSpec(64, 64, people=(1, 2)),), count=4, first_seed=3, cache=None)
    recipe = small_recipe(total_steps=11, batch_size=3)
    stream = replace(small_stream(recipe, rank=1, world_size=2), source=scenes)
    batches = list(rank_batches(stream, first_step=2))
    assert len(batches) == 9
    for step, batch in enumerate(batches, start=2):
        expected = stream[step]
        assert batch.persons == expected.persons
        for name in ("images", "heatmap", "heatmap_weight", "offset", "offset_weight"):
            torch.testing.assert_close(getattr(batch, name), getattr(expected, name), rtol=0, atol=0)


def test_nothing_is_done_for_a_batch_but_preparing_it(cluster: str):
    """Where a CPU is all there is, Ray Data would finish any stage before it for the whole run first."""
    scenes = SyntheticSource(COCO, (SceneSpec(64, 64, people=(1, 2)),), count=4, first_seed=3, cache=None)
    list(rank_batches(replace(small_stream(small_recipe(total_steps=20)), source=scenes), first_step=0))
    stages = [event["cat"] for event in ray.timeline() if event["name"].endswith("_map_task")]
    assert set(stages) == {"task::MapBatches(prepare)"}


def test_a_finished_run_needs_no_batches():
    assert list(rank_batches(small_stream(small_recipe(total_steps=3)), first_step=3)) == []
