from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from posrefine.skeletons import COCO, CROWDPOSE
from posrefine.synthetic import SceneSpec, render_scene
from posrefine.training.synthetic_source import SyntheticSource, label_scene

SPECS = (SceneSpec(64, 64, people=(1, 1)), SceneSpec(96, 64, people=(2, 2)))


def test_specs_take_turns_and_seeds_count_up():
    source = SyntheticSource(COCO, SPECS, count=4, first_seed=5, cache=None)
    assert len(source) == 4
    assert [source[position].pixels.shape[1] for position in range(3)] == [96, 64, 96]
    np.testing.assert_array_equal(source[1].pixels, render_scene(6, SPECS[0]).image)


def test_sources_that_share_a_seed_share_its_scene():
    early = SyntheticSource(COCO, SPECS, count=2, first_seed=6, cache=None)
    late = SyntheticSource(COCO, SPECS, count=1, first_seed=7, cache=None)
    np.testing.assert_array_equal(early[1].pixels, late[0].pixels)


def test_a_kept_scene_is_the_rendered_one(tmp_path: Path):
    source = SyntheticSource(COCO, SPECS, count=2, first_seed=0, cache=tmp_path / "scenes")
    fresh, kept = source[1], source[1]
    assert [path.name for path in (tmp_path / "scenes").rglob("*.*")] == ["1.safetensors"]
    for name in ("pixels", "keypoints", "areas_px2", "diagonals_px", "ignored", "instances"):
        np.testing.assert_array_equal(getattr(kept, name), getattr(fresh, name))


@pytest.mark.parametrize(
    ("skeleton", "specs"), [(CROWDPOSE, SPECS), (COCO, (SPECS[0], SceneSpec(96, 64, people=(3, 3))))]
)
def test_a_cache_never_gives_a_scene_of_other_joints_or_another_spec(tmp_path: Path, skeleton, specs):
    first = SyntheticSource(COCO, SPECS, count=2, first_seed=0, cache=tmp_path)
    other = SyntheticSource(skeleton, specs, count=2, first_seed=0, cache=tmp_path)
    _ = first[1]
    for name in ("pixels", "keypoints"):
        np.testing.assert_array_equal(
            getattr(other[1], name), getattr(label_scene(render_scene(1, specs[1]), skeleton), name)
        )


def test_labels_are_those_of_the_scenes_persons():
    scene = render_scene(6, SPECS[1])
    labelled = label_scene(scene, CROWDPOSE)
    np.testing.assert_array_equal(labelled.keypoints[1], scene.persons[1].keypoints(CROWDPOSE))
    assert labelled.areas_px2.tolist() == [person.area for person in scene.persons]
