"""The same seed and spec give the same bytes in every process; other seeds give other scenes."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np

from posrefine.synthetic import TRAIN, Scene, render_scene, render_scenes

_DIGEST_IN_A_NEW_PROCESS = """
import hashlib, sys
from posrefine.synthetic import TRAIN, render_scene
for seed in map(int, sys.argv[1:]):
    scene = render_scene(seed, TRAIN)
    parts = [scene.image, scene.instance_map, *(person.joints for person in scene.persons)]
    print(hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest())
"""


def _digest(scene: Scene) -> str:
    parts = [scene.image, scene.instance_map, *(person.joints for person in scene.persons)]
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def test_another_process_renders_the_same_bytes():
    seeds = [5, 6, 7]
    here = [_digest(render_scene(seed, TRAIN)) for seed in seeds]
    command = [sys.executable, "-c", _DIGEST_IN_A_NEW_PROCESS, *map(str, seeds)]
    there = subprocess.run(command, capture_output=True, text=True, check=True)
    assert there.stdout.split() == here


def test_scenes_rendered_before_do_not_change_a_scene():
    alone = _digest(render_scene(11, TRAIN))
    render_scene(99, TRAIN)
    assert _digest(render_scene(11, TRAIN)) == alone


def test_seeds_give_different_scenes():
    digests = {_digest(render_scene(seed, TRAIN)) for seed in range(12)}
    assert len(digests) == 12


def test_a_stream_is_the_scenes_of_consecutive_seeds():
    stream = list(render_scenes(3, 40, specs=(TRAIN,)))
    assert [scene.seed for scene in stream] == [40, 41, 42]
    np.testing.assert_array_equal(stream[1].image, render_scene(41, TRAIN).image)
