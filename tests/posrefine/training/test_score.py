from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.annotated import annotated_people

from posrefine.errors import ConfigurationError, TrainingError
from posrefine.metrics import GroundTruth, GroundTruthBuilder, object_keypoint_similarity, oks_rules
from posrefine.modeling.score_net import score_features
from posrefine.skeletons import COCO
from posrefine.training.score import ScoreExamples, ScoreRecipe, best_oks, train_score_net


def truth_of(images: int) -> GroundTruth:
    builder = GroundTruthBuilder(oks_rules("coco"))
    content = annotated_people(images, seed=4)
    builder.add_images(content["images"])
    builder.add_categories(content["categories"])
    builder.add_persons(content["annotations"])
    return builder.build()[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 0}, "epochs is 0: give a number above 0"),
        ({"epochs": -3}, "epochs is -3: give"),
        ({"batch_size": 0}, "batch_size is 0: give"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0: give"),
        ({"learning_rate": float("nan")}, "learning_rate is nan: give"),
        ({"learning_rate": float("inf")}, "learning_rate is inf: give"),
        ({"seed": -1}, "seed is -1: give"),
        ({"seed": 2**64}, f"seed is {2**64}: give"),
    ],
)
def test_impossible_recipes_are_refused(changes, said):
    with pytest.raises(ConfigurationError, match=said):
        ScoreRecipe(**changes)


def test_the_best_oks_is_the_highest_over_the_persons_of_the_same_image():
    truth, rng = truth_of(6), np.random.default_rng(0)
    image_ids = rng.choice(truth.image_ids, 40)
    keypoints = rng.uniform(0, 480, (40, 17, 2))
    near = rng.integers(len(truth.keypoints), size=10)
    keypoints[:10] = truth.keypoints[near] + rng.normal(0, 5, (10, 17, 2))
    image_ids[:10] = truth.image_ids[truth.person_image[near]]
    expected = np.zeros(40)
    for pose in range(40):
        for person in np.flatnonzero(truth.image_ids[truth.person_image] == image_ids[pose]):
            one = slice(person, person + 1)
            similarity = object_keypoint_similarity(
                keypoints[pose : pose + 1], truth.keypoints[one], truth.labelled[one], truth.boxes[one],
                truth.areas[one], np.asarray(COCO.sigmas),
            )  # fmt: skip
            expected[pose] = max(expected[pose], similarity[0])
    assert expected[:10].min() > 0.3
    np.testing.assert_array_equal(best_oks(keypoints, image_ids, truth, COCO), expected)


def test_of_a_pose_that_fits_an_unlabelled_person_alone_nobody_can_say_how_good_it_is():
    content = annotated_people(1, seed=4)
    first = content["annotations"][0]
    unlabelled = first | {
        "id": 900, "num_keypoints": 0, "keypoints": [0] * 51, "bbox": [1000, 1000, 100, 200], "area": 20000
    }  # fmt: skip
    crowd = unlabelled | {"id": 901, "iscrowd": 1, "bbox": [*first["bbox"][:2], 300, 300]}
    builder = GroundTruthBuilder(oks_rules("coco"))
    builder.add_images(content["images"])
    builder.add_categories(content["categories"])
    builder.add_persons([first, unlabelled, crowd])
    truth = builder.build()[0]
    labelled = truth.keypoints[np.flatnonzero(~truth.ignored)[0]]
    inside = np.tile([1050.0, 1100.0], (17, 1))
    apart = np.tile([3000.0, 3000.0], (17, 1))
    keypoints = np.stack([labelled, inside, apart])
    found = best_oks(keypoints, np.repeat(truth.image_ids[:1], 3), truth, COCO)
    # The labelled person stands in the crowd, and is itself all the same.
    np.testing.assert_array_equal(found, [1.0, np.nan, 0.0])


def test_the_network_learns_which_poses_are_good_and_is_the_same_every_time():
    rng = np.random.default_rng(1)
    oks = rng.uniform(0, 1, 3000).astype(np.float32)
    scores = np.clip(oks[:, None] + rng.normal(0, 0.05, (3000, 17)), 0, 1).astype(np.float32)
    keypoints = rng.uniform(0, 300, (3000, 17, 2)).astype(np.float32)
    spread, sides = one_view(3000), np.full(3000, 480, np.float32)
    examples = ScoreExamples(keypoints, scores, spread, sides, oks)
    recipe = ScoreRecipe(epochs=8, batch_size=128)
    network, error = train_score_net(examples, COCO, recipe)
    assert error < 0.1 < oks.std()
    again, _ = train_score_net(examples, COCO, recipe)
    features = score_features(*map(torch.from_numpy, (keypoints, scores, spread, sides)), COCO)
    torch.testing.assert_close(again(features), network(features), rtol=0, atol=0)


def test_what_is_learnt_from_a_pose_holds_for_its_mirror_image():
    rng = np.random.default_rng(2)
    keypoints = rng.uniform(0, 300, (3000, 17, 2)).astype(np.float32)
    nose, left_ear = COCO.joints.index("nose"), COCO.joints.index("left_ear")
    # Good where the left ear is far from the nose; of the right ear, random here, nothing is said.
    away = np.linalg.norm(keypoints[:, nose] - keypoints[:, left_ear], axis=1)
    scores = np.full((3000, 17), 0.5, np.float32)
    scores[:, left_ear] = oks = (away / away.max()).astype(np.float32)
    spread, sides = one_view(3000), np.full(3000, 480, np.float32)
    network, _ = train_score_net(
        ScoreExamples(keypoints, scores, spread, sides, oks), COCO, ScoreRecipe(8, 128)
    )
    order = list(COCO.flip_order)
    of_mirrored = network(
        score_features(
            torch.from_numpy(keypoints[:, order] * np.float32([-1, 1])),
            torch.from_numpy(scores[:, order]),
            torch.from_numpy(spread),
            torch.from_numpy(sides),
            COCO,
        )
    )
    assert np.corrcoef(of_mirrored.detach().numpy(), oks)[0, 1] > 0.9


def test_that_small_persons_are_found_less_exactly_is_learnt():
    rng = np.random.default_rng(3)
    sizes, sides = rng.uniform(0.1, 0.5, 3000), rng.uniform(200, 2000, 3000).astype(np.float32)
    keypoints = (rng.uniform(0, 1, (3000, 17, 2)) * (sizes * sides)[:, None, None]).astype(np.float32)
    scores = np.full((3000, 17), 0.5, np.float32)
    oks, spread = sizes.astype(np.float32), one_view(3000)
    network, _ = train_score_net(
        ScoreExamples(keypoints, scores, spread, sides, oks), COCO, ScoreRecipe(8, 128)
    )
    found = network(score_features(*map(torch.from_numpy, (keypoints, scores, spread, sides)), COCO))
    assert np.corrcoef(found.detach().numpy(), oks)[0, 1] > 0.8


def test_that_poses_whose_views_disagree_are_worse_is_learnt_and_one_view_says_nothing():
    rng = np.random.default_rng(4)
    keypoints = rng.uniform(0, 300, (3000, 17, 2)).astype(np.float32)
    scores, sides = np.full((3000, 17), 0.5, np.float32), np.full(3000, 480, np.float32)
    oks = rng.uniform(0, 1, 3000).astype(np.float32)
    spread = (30 * (1 - oks[:, None]) * rng.uniform(0.8, 1.2, (3000, 17))).astype(np.float32)
    seen = ScoreExamples(keypoints, scores, spread, sides, oks)
    network, _ = train_score_net(seen, COCO, ScoreRecipe(8, 128))
    found = network(score_features(*map(torch.from_numpy, (keypoints, scores, spread, sides)), COCO))
    assert np.corrcoef(found.detach().numpy(), oks)[0, 1] > 0.9
    unseen = replace(seen, spread_px=one_view(3000))
    network, error = train_score_net(unseen, COCO, ScoreRecipe(8, 128))
    assert not network.spread.weight.any()
    assert error > 0.2


def one_view(poses: int) -> np.ndarray:
    return np.full((poses, 17), np.nan, np.float32)


def test_poses_without_any_person_near_stop_the_training():
    nothing = ScoreExamples(
        *(np.zeros(shape, np.float32) for shape in ((3, 17, 2), (3, 17))),
        one_view(3),
        np.full(3, 480, np.float32),
        np.zeros(3, np.float32),
    )
    with pytest.raises(TrainingError, match="none of them near an annotated person"):
        train_score_net(nothing, COCO)
