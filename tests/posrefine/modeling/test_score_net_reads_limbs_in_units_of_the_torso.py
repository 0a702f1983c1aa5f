import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.shared import load_golden, stand_in_score_net

from posrefine.modeling.score_net import ScoreNet, score_features
from posrefine.skeletons import COCO, CROWDPOSE, SKELETONS


@pytest.mark.parametrize("case", ["000000001000_single", "000000005001_multi"])
def test_predictions_equal_the_reference_codes(case):
    golden = load_golden(f"decode_{case}")
    poses = torch.from_numpy(golden["keypoints"].astype(np.float32))
    net = stand_in_score_net(COCO)
    with torch.inference_mode():
        found = net(
            score_features(
                poses[..., :2], poses[..., 2], one_view(len(poses)), torch.full((len(poses),), 480.0), COCO
            )
        )
    np.testing.assert_allclose(found, golden["rescore_multiplier"], rtol=1e-4, atol=1e-5)


def test_worked_example():
    keypoints = torch.zeros(1, 17, 2)
    keypoints[0, 0] = torch.tensor([3.0, 4.0])  # the nose; its limbs go to the eyes, 1 and 2
    keypoints[0, 5] = torch.tensor([0.0, 10.0])  # limb 9 is 5 to 11, limb 11 is 6 to 12
    keypoints[0, 6] = torch.tensor([0.0, -30.0])
    scores = torch.linspace(0, 1, 17).unsqueeze(0)
    spread = torch.full((1, 17), 0.6)
    spread[0, 3] = 1.8
    features = score_features(keypoints, scores, spread, torch.tensor([400.0]), COCO)[0]
    unit = (10 + 30) / 2
    assert features.shape == (2 * 19 + 19 + 17 + 1 + 3,)
    torch.testing.assert_close(features[:4], torch.tensor([3, 4, 3, 4]) / unit)
    torch.testing.assert_close(features[38:40], torch.tensor([5, 5]) / unit)
    assert torch.equal(features[-21:-4], scores[0])
    torch.testing.assert_close(features[-4], torch.tensor(20 / 400).log())
    logarithms = torch.tensor([1 + 100 * 0.6 / 20, 1 + 100 * 1.8 / 20]).log()
    mean = (16 * logarithms[0] + logarithms[1]) / 17
    torch.testing.assert_close(features[-3:], torch.stack([mean, logarithms[1], torch.tensor(1.0)]))


def one_view(poses: int, joints: int = 17) -> torch.Tensor:
    return torch.full((poses, joints), torch.nan)


def test_a_vanishing_torso_counts_as_one_pixel():
    keypoints = torch.zeros(1, 17, 2)
    keypoints[0, 0, 0] = 0.5
    features = score_features(keypoints, torch.zeros(1, 17), one_view(1), torch.ones(1), COCO)[0]
    assert features[0] == 0.5


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(SKELETONS)), st.floats(1, 50), st.floats(-500, 500), st.integers(0, 2**31))
def test_features_know_neither_where_a_person_is_nor_how_many_px_its_image_has(name, scale, shift, seed):
    skeleton = SKELETONS[name]
    generator = torch.Generator().manual_seed(seed)
    keypoints = 100 * torch.rand((2, skeleton.num_joints, 2), generator=generator, dtype=torch.float64)
    for limb in skeleton.score_reference_limbs:
        first, _ = skeleton.score_limbs[limb]
        keypoints[:, first] += 200  # a torso well over the one pixel at which the unit stops
    scores = torch.rand((2, skeleton.num_joints), generator=generator, dtype=torch.float64)
    spread = torch.rand((2, skeleton.num_joints), generator=generator, dtype=torch.float64)
    short_px = torch.tensor([300.0, 500.0], dtype=torch.float64)
    torch.testing.assert_close(
        score_features(scale * keypoints + shift, scores, scale * spread, scale * short_px, skeleton),
        score_features(keypoints, scores, spread, short_px, skeleton),
    )


@pytest.mark.parametrize(("skeleton", "features"), [(COCO, 74), (CROWDPOSE, 59)])
def test_names_and_sizes_are_dekrs_but_for_the_layers_that_read_size_and_spread(skeleton, features):
    shapes = {name: tuple(tensor.shape) for name, tensor in ScoreNet(skeleton).state_dict().items()}
    assert shapes == {
        "l1.weight": (256, features),
        "l1.bias": (256,),
        "l2.weight": (256, 256),
        "l2.bias": (256,),
        "l3.weight": (1, 256),
        "l3.bias": (1,),
        "size.weight": (256, 1),
        "spread.weight": (256, 3),
    }


def test_size_counts_for_nothing_before_it_is_learnt():
    poses, scores = 200 * torch.rand(5, 17, 2), torch.rand(5, 17)
    near, far = (
        score_features(poses, scores, one_view(5), torch.full((5,), side_px), COCO)
        for side_px in (300.0, 3000.0)
    )
    network = ScoreNet(COCO)
    assert torch.equal(network(near), network(far))
    torch.nn.init.ones_(network.size.weight)
    assert not torch.equal(network(near), network(far))


def test_spread_counts_for_nothing_before_it_is_learnt_nor_where_there_was_one_view():
    poses, scores, sides = 200 * torch.rand(5, 17, 2), torch.rand(5, 17), torch.full((5,), 300.0)
    close, wide, alone = (
        score_features(poses, scores, spread, sides, COCO)
        for spread in (torch.ones(5, 17), torch.full((5, 17), 9.0), one_view(5))
    )
    network = ScoreNet(COCO)
    assert torch.equal(network(close), network(wide))
    without = network(alone)
    torch.nn.init.ones_(network.spread.weight)
    assert not torch.equal(network(close), network(wide))
    assert torch.equal(network(alone), without)


def test_no_poses_give_no_scores():
    features = score_features(
        torch.zeros(0, 14, 2), torch.zeros(0, 14), one_view(0, 14), torch.zeros(0), CROWDPOSE
    )
    assert ScoreNet(CROWDPOSE)(features).shape == (0,)
