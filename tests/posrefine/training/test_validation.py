from __future__ import annotations

import numpy as np
from support.networks import noisy_network

from posrefine.inference.predictor import Predictor
from posrefine.skeletons import COCO, CROWDPOSE
from posrefine.synthetic import SceneSpec, coco_annotations, render_scene, render_scenes
from posrefine.training.validation import ValidationSet


def test_a_networks_own_poses_as_ground_truth_score_one():
    model = noisy_network()
    scene = render_scene(3, SceneSpec(64, 64, people=(1, 1)))
    pose = Predictor(model, input_size=64, flip=False)([scene.image])[0]
    content = coco_annotations([scene], COCO)
    points = np.concatenate([pose.keypoints[0], np.full((17, 1), 2)], axis=1)
    content["annotations"] = [
        content["annotations"][0]
        | {"keypoints": points.ravel().tolist(), "num_keypoints": 17, "area": 5000.0, "bbox": [0, 0, 64, 64]}
    ]
    metrics = ValidationSet.of({1: scene.image}, content, COCO).metrics(model, 64)
    assert metrics.AP > 0.999


def test_images_without_pixels_are_left_out():
    scenes = [render_scene(seed, SceneSpec(64, 64, people=(1, 2))) for seed in range(3)]
    content = coco_annotations(scenes, CROWDPOSE)
    validation = ValidationSet.of({2: scenes[1].image}, content, CROWDPOSE)
    assert validation.truth.image_ids.tolist() == [2]
    metrics = validation.metrics(noisy_network(CROWDPOSE), 64)
    assert 0 <= metrics.AP <= 1


def test_rendered_scenes_are_those_of_their_seeds_and_span_the_crowd_index():
    validation = ValidationSet.rendered(3, 21, CROWDPOSE)
    scenes = list(render_scenes(3, 21))
    assert validation.truth.image_ids.tolist() == [1, 2, 3]
    for image_id, scene in enumerate(scenes, start=1):
        np.testing.assert_array_equal(validation.images[image_id], scene.image)
    easy, medium, hard = (scene.crowd_index for scene in scenes)
    assert easy < 0.2 <= medium < 0.8 <= hard
