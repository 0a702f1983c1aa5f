"""Any skeleton goes the whole way: network, predictor, pictures, COCO's form, weights."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
import pytest
from support.networks import noisy_network

from posrefine import Predictor, load, load_weights, save_weights
from posrefine.drawing import draw_annotated, draw_poses, draw_spread
from posrefine.errors import ConfigurationError, WeightsError
from posrefine.modeling.network import PoseNetwork
from posrefine.modeling.score_net import ScoreNet
from posrefine.skeletons import COCO, CROWDPOSE, Skeleton
from posrefine.test_protocols import TEST_PROTOCOLS

FINGERS = ("thumb", "index", "middle", "ring", "little")
HAND = Skeleton(
    name="hand",
    joints=("wrist", *(f"{finger}_{part}" for finger in FINGERS for part in range(1, 5))),
    sigmas=(0.05,) * 21,
    limbs=tuple(
        (0 if part == 0 else 4 * finger + part, 4 * finger + part + 1)
        for finger in range(5)
        for part in range(4)
    ),
)
ARMS = Skeleton(
    name="arms",
    joints=("left_hand", "right_hand", "left_elbow", "right_elbow", "left_shoulder", "right_shoulder"),
    sigmas=(0.06,) * 6,
    limbs=((0, 2), (2, 4), (4, 5), (5, 3), (3, 1)),
    nms_close_joints=4,
)
PAIR = Skeleton(name="pair", joints=("head", "tail"), sigmas=(0.1, 0.1))


@functools.cache
def network_of(skeleton: Skeleton) -> PoseNetwork:
    return noisy_network(skeleton)


every_skeleton = pytest.mark.parametrize("skeleton", [HAND, ARMS, PAIR], ids=lambda skeleton: skeleton.name)


@every_skeleton
@pytest.mark.parametrize("protocol", TEST_PROTOCOLS.values(), ids=TEST_PROTOCOLS)
def test_a_network_for_it_finds_poses_that_can_be_drawn(skeleton, protocol):
    scales = (1.0, 2.0) if protocol.multi_scale else (1.0,)
    predictor = Predictor(network_of(skeleton), input_size=64, scales=scales, protocol=protocol)
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    (poses,) = predictor([pixels])
    assert len(poses) > 0
    assert poses.keypoints.shape[1:] == (skeleton.num_joints, 2)
    assert np.isfinite(poses.keypoints).all()
    labelled = np.ones(poses.keypoints.shape[:2], bool)
    assert (draw_poses(pixels, poses, skeleton) != pixels).any()
    assert (draw_annotated(pixels, poses.keypoints, labelled, skeleton) != pixels).any()
    assert (draw_spread(pixels, poses) != pixels).any()


def test_half_of_the_joints_make_two_poses_one_unless_the_skeleton_says_otherwise():
    assert (HAND.close_joints, PAIR.close_joints, ARMS.close_joints) == (10, 1, 4)
    for skeleton in (COCO, CROWDPOSE):
        assert dataclasses.replace(skeleton, nms_close_joints=None).close_joints == skeleton.close_joints


def test_left_and_right_change_places_and_other_joints_stay():
    assert ARMS.flip_order == (1, 0, 3, 2, 5, 4)
    assert HAND.flip_order == tuple(range(21))


def test_its_category_names_joints_and_counts_limbs_from_one():
    category = ARMS.coco_category("climber")
    assert (category["id"], category["name"]) == (1, "climber")
    assert category["keypoints"] == list(ARMS.joints)
    assert category["skeleton"] == [[1, 3], [3, 5], [5, 6], [6, 4], [4, 2]]


def test_its_weights_are_saved_and_loaded_under_its_name(tmp_path):
    save_weights(network_of(HAND), tmp_path / "hand.safetensors", {"skeleton": "hand"})
    assert load_weights(network_of(HAND), tmp_path / "hand.safetensors").skeleton == "hand"
    whole = load(tmp_path / "hand.safetensors", model="posrefine_tiny", skeleton=HAND, device="cpu")
    assert whole.skeleton == HAND
    with pytest.raises(WeightsError, match="'hand' is unknown; wanted one of coco, crowdpose, arms"):
        load_weights(network_of(ARMS), tmp_path / "hand.safetensors")


def test_a_rescoring_network_needs_limbs_to_read():
    with pytest.raises(ConfigurationError, match=r"skeleton hand names no score_limbs.*predict without one"):
        ScoreNet(HAND)
    measured = dataclasses.replace(ARMS, score_limbs=ARMS.limbs, score_reference_limbs=(1, 3))
    net = ScoreNet(measured)
    assert net.l1.in_features == measured.score_features == 3 * 5 + 6
    predictor = Predictor(noisy_network(measured), input_size=64, score_net=net)
    assert len(predictor([np.full((60, 80, 3), 90, np.uint8)])) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"joints": ("head",), "sigmas": (0.1,)}, r"joints are \('head',\), wanted two or more"),
        ({"joints": ("left_hand", "tail")}, "joint left_hand has no right_hand to change places with"),
        ({"sigmas": (0.1, 0.0)}, r"sigmas are .*, wanted numbers above 0"),
        ({"sigmas": (0.1, math.nan)}, r"sigmas are .*, wanted numbers above 0"),
        ({"limbs": ((0, 2),)}, r"limb \(0, 2\) is no pair of different joints, wanted 0 to 1"),
        ({"limbs": ((1, 1),)}, r"limb \(1, 1\) is no pair"),
        ({"score_limbs": ((0, 1),)}, "score_limbs and score_reference_limbs go together"),
        ({"score_reference_limbs": (0, 0)}, "score_limbs and score_reference_limbs go together"),
        ({"score_limbs": ((0, 1),), "score_reference_limbs": (0, 1)}, r"score_reference_limbs are \(0, 1\)"),
        ({"nms_close_joints": 2}, "nms_close_joints is 2, wanted 0 to 1"),
    ],
)
def test_parts_that_do_not_fit_are_refused_when_it_is_made_not_at_the_first_image(changes, words):
    with pytest.raises(ConfigurationError, match=f"skeleton pair: {words}"):
        dataclasses.replace(PAIR, **changes)
