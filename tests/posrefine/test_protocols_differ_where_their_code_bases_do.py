"""Each test-time switch, and that official and mmpose are set as their code bases are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.networks import noisy_network

from posrefine.inference.decoding.decoder import Decoder, Persons
from posrefine.inference.decoding.proposals import centre_proposals
from posrefine.inference.decoding.views import ScaleMaps, joint_positions, merge_views, mirrored_images
from posrefine.inference.fast.offsets import DenseOffsets
from posrefine.inference.predictor import Predictor
from posrefine.modeling.score_net import ScoreNet
from posrefine.skeletons import COCO, CROWDPOSE
from posrefine.test_protocols import MMPOSE, OFFICIAL, POSREFINE, TEST_PROTOCOLS, NmsOrder, RescoreInputs

BOTH = pytest.mark.parametrize("protocol", [OFFICIAL, MMPOSE], ids=lambda protocol: protocol.name)
HEIGHT, WIDTH = 8, 12


def test_each_is_found_by_the_name_that_checkpoints_carry():
    assert TEST_PROTOCOLS == {"official": OFFICIAL, "mmpose": MMPOSE, "posrefine": POSREFINE}
    ours = replace(
        OFFICIAL,
        name="posrefine",
        nms_order=NmsOrder.SCORE,
        draw_to_heat=True,
        oks_is_score=True,
        known_size_px=150.0,
        nms_threshold_multi=0.08,
    )
    assert ours == POSREFINE


def test_the_centre_window_grows_with_the_map_or_stays():
    sides = [(100, 100), (200, 200), (200, 202), (300, 300), (300, 302)]
    assert [OFFICIAL.centre_kernel(*hw) for hw in sides] == [3, 3, 5, 5, 7]
    assert {MMPOSE.centre_kernel(*hw) for hw in sides} == {5}


def test_a_wider_window_leaves_fewer_centres():
    centre = torch.zeros(1, 20, 20)
    centre[0, 10, 10], centre[0, 10, 12] = 0.9, 0.8
    assert centre_proposals(centre, OFFICIAL).found.sum() == 2
    assert centre_proposals(centre, MMPOSE).found.sum() == 1


def test_poses_need_a_distance_that_grows_with_the_number_of_scales():
    assert (OFFICIAL.nms_threshold(1), OFFICIAL.nms_threshold(3)) == (0.05, 0.15)


def test_the_official_mirrored_image_moves_left_by_three_pixels_and_keeps_its_last_three_columns():
    image = torch.arange(10).view(1, 1, 1, 10)
    assert mirrored_images(image, OFFICIAL).flatten().tolist() == [6, 5, 4, 3, 2, 1, 0, 2, 1, 0]
    assert mirrored_images(image, MMPOSE).flatten().tolist() == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]


@BOTH
def test_a_joint_in_the_mirrored_image_comes_back_to_where_it_is(protocol):
    """An ideal network: cell c shows input px 4c, and every cell points at every joint."""
    joints = torch.rand(COCO.num_joints, 2) * torch.tensor([4.0 * WIDTH, 4.0 * HEIGHT])
    mirrored = joints[list(COCO.flip_order)].clone()
    moved = 3 if protocol is OFFICIAL else 0
    mirrored[:, 0] = 4 * WIDTH - 1 - mirrored[:, 0] - moved
    offset = torch.stack([ideal_offset(joints), ideal_offset(mirrored)])
    heatmap = torch.zeros(2, 18, HEIGHT, WIDTH)
    maps = merge_views(1.0, heatmap, DenseOffsets(offset), COCO, protocol, flip=True)
    cells = torch.tensor([[[3, 2], [7, 5]]])
    positions = 4 * joint_positions(maps, cells, COCO, protocol)
    assert positions.shape == (1, 2, 2, 17, 2)
    torch.testing.assert_close(positions, joints.expand_as(positions), atol=1e-4, rtol=0)


def ideal_offset(joints, height=HEIGHT, width=WIDTH):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    cells = torch.stack([x, y]).float()
    return (cells - (joints / 4)[:, :, None, None]).flatten(0, 1)


@BOTH
def test_mirrored_heat_comes_back_on_the_other_sides_joint(protocol):
    heatmap = torch.zeros(2, 18, HEIGHT, WIDTH)
    left, right = COCO.joints.index("left_wrist"), COCO.joints.index("right_wrist")
    heatmap[1, left, 4, 2] = 1.0
    heatmap[1, 17, 4, 2] = 1.0
    offsets = DenseOffsets(torch.zeros(2, 34, HEIGHT, WIDTH))
    merged = merge_views(1.0, heatmap, offsets, COCO, protocol, flip=True).heatmap
    column = WIDTH - 1 - 2 + (1 if protocol is MMPOSE else 0)
    assert merged[0, right].nonzero().tolist() == [[4, column]]
    assert merged[0, 17].nonzero().tolist() == [[4, column]]
    assert merged[0, left].max() == 0
    assert merged[0, right, 4, column] == 0.5


def one_scale(seed, batch=1, side=16):
    generator = torch.Generator().manual_seed(seed)
    heatmap = torch.rand(batch, 18, side, side, generator=generator)
    offset = torch.randn(batch, 34, side, side, generator=generator) * 2
    return ScaleMaps(1.0, heatmap, DenseOffsets(offset), mirrored=False)


IDENTITY = torch.tensor([[1.0, 0.0, 1.0, 0.0]])


def test_pose_nms_goes_by_proposals_or_by_heat():
    by_proposals = Decoder(COCO, OFFICIAL, 0.4)
    by_heat = Decoder(COCO, replace(OFFICIAL, nms_order=NmsOrder.HEAT), 0.4)
    differ = 0
    for seed in range(10):
        first, second = (decode([one_scale(seed)], (64, 64), IDENTITY) for decode in (by_proposals, by_heat))
        differ += persons_of(first) != persons_of(second)
    assert differ > 0


def persons_of(persons):
    return sorted(persons.keypoints[persons.found].sum((1, 2)).tolist())


def test_by_heat_the_hottest_pose_of_all_is_always_kept():
    for seed in range(10):
        maps = one_scale(seed)
        maps.heatmap[:, -1] = 0.0
        maps.heatmap[:, -1, 1::3, 1::3] = 1.0
        every, kept = (Decoder(COCO, MMPOSE, t)([maps], (64, 64), IDENTITY) for t in (0.0, 0.4))
        assert 1 <= kept.found.sum() < every.found.sum()
        assert kept.scores[0, 0] == every.scores[0, 0]


def test_rescoring_sees_image_px_and_joint_scores_or_input_px_and_heat():
    torch.manual_seed(0)
    score_net = ScoreNet(COCO).requires_grad_(False)
    in_image = torch.tensor([[0.02, 0.0, 0.02, 0.0]])
    plain = Decoder(COCO, OFFICIAL, 0.0)([one_scale(0)], (64, 64), in_image)
    official = Decoder(COCO, OFFICIAL, 0.0, score_net)([one_scale(0)], (64, 64), in_image)
    other = replace(OFFICIAL, rescore_inputs=RescoreInputs.INPUT_AND_HEAT)
    mmpose = Decoder(COCO, other, 0.0, score_net)([one_scale(0)], (64, 64), in_image)
    same_joint_scores = torch.sort(official.keypoint_scores.flatten()).values
    torch.testing.assert_close(same_joint_scores, torch.sort(plain.keypoint_scores.flatten()).values)
    torch.testing.assert_close(mmpose.keypoint_scores.mean(-1), mmpose.scores)
    assert not torch.allclose(official.scores, mmpose.scores)


def test_a_predicted_oks_multiplies_the_score_or_is_the_score():
    torch.manual_seed(0)
    score_net = ScoreNet(COCO).requires_grad_(False)
    plain, factor, alone = (
        Decoder(COCO, protocol, 0.0, net)([one_scale(0)], (64, 64), IDENTITY)
        for protocol, net in (
            (OFFICIAL, None), (OFFICIAL, score_net), (replace(OFFICIAL, oks_is_score=True), score_net)
        )
    )  # fmt: skip
    score_of = {tuple(pose.flatten().tolist()): score for pose, score in zip(*found(plain), strict=True)}
    oks_of = {tuple(pose.flatten().tolist()): oks for pose, oks in zip(*found(alone), strict=True)}
    assert len(oks_of) > 1
    assert all(0 <= oks <= 1 for oks in oks_of.values())
    assert any(oks > 0 for oks in oks_of.values())
    for pose, score in zip(*found(factor), strict=True):
        key = tuple(pose.flatten().tolist())
        assert max(0.0, float(score / score_of[key])) == pytest.approx(float(oks_of[key]), abs=1e-5)


def test_the_score_network_measures_a_person_against_its_image():
    torch.manual_seed(0)
    score_net = ScoreNet(COCO).requires_grad_(False)
    of_dekr = decoded_scores(score_net, 1.0)
    torch.nn.init.normal_(score_net.size.weight)
    ours = decoded_scores(score_net, 1.0)
    assert not torch.allclose(ours, of_dekr)
    torch.testing.assert_close(decoded_scores(score_net, 10.0), ours)


def decoded_scores(score_net: ScoreNet, zoom: float) -> torch.Tensor:
    in_image = torch.tensor([[zoom, 0.0, zoom, 0.0]])
    return Decoder(COCO, OFFICIAL, 0.0, score_net)([one_scale(0)], (64, 64), in_image).scores


def found(persons: Persons) -> tuple[torch.Tensor, torch.Tensor]:
    return persons.keypoints[persons.found], persons.scores[persons.found]


def test_an_undefined_prediction_of_the_score_network_makes_its_image_unsound():
    score_net = ScoreNet(COCO).requires_grad_(False)
    score_net.l3.bias.fill_(torch.nan)
    persons = Decoder(COCO, OFFICIAL, 0.05, score_net)([one_scale(0)], (64, 64), IDENTITY)
    assert persons.sound.tolist() == [False]


@pytest.mark.parametrize(("skeleton", "weight"), [(COCO, 0.9), (CROWDPOSE, 0.8)])
def test_centres_of_other_scales_are_brought_to_scale_ones_highest_and_weighed_less(skeleton, weight):
    joints = skeleton.num_joints
    base = torch.ones(1, joints + 1, 16, 16)
    other = torch.ones(1, joints + 1, 32, 32)
    base[:, -1], other[:, -1] = 0.0, 0.0
    base[0, -1, 2, 2], other[0, -1, 24, 24], other[0, -1, 28, 4] = 0.6, 0.3, 0.15
    maps = [
        ScaleMaps(2.0, other, DenseOffsets(torch.zeros(1, 2 * joints, 32, 32)), mirrored=False),
        ScaleMaps(1.0, base, DenseOffsets(torch.zeros(1, 2 * joints, 16, 16)), mirrored=False),
    ]
    persons = Decoder(skeleton, OFFICIAL, 0.15)(maps, (64, 64), IDENTITY)
    expected = [0.6, 0.6 * weight, 0.3 * weight]
    np.testing.assert_allclose(persons.scores[persons.found], expected, rtol=1e-6)
    # Offsets are zero, so each pose lies where its own scale has the centre.
    assert persons.keypoints[persons.found][:, 0].tolist() == [[8, 8], [48, 48], [8, 56]]


def test_equal_centres_come_in_the_order_of_their_cells():
    centre = torch.zeros(1, 20, 20)
    for y, x in [(15, 3), (3, 15), (3, 3), (9, 9)]:
        centre[0, y, x] = 0.5
    assert centre_proposals(centre, OFFICIAL).cells[0, :4].tolist() == [[3, 3], [15, 3], [9, 9], [3, 15]]


def test_the_spread_is_the_root_mean_square_distance_of_the_views_from_their_mean():
    centre = torch.zeros(1, 18, 16, 16)
    centre[0, :, 8, 6] = 1.0
    straight, mirrored = torch.zeros(1, 34, 16, 16), torch.zeros(1, 34, 16, 16)
    # The mirrored view puts every joint 2 cells lower: 8 input px, 16 image px; each view is 8 from the mean.
    mirrored[:, 1::2] = -2.0
    maps = ScaleMaps(1.0, centre, DenseOffsets(torch.cat([straight, mirrored])), mirrored=True)
    persons = Decoder(COCO, OFFICIAL, 0.05)([maps], (64, 64), torch.tensor([[2.0, 0.0, 2.0, 0.0]]))
    assert persons.found.sum() == 1
    torch.testing.assert_close(persons.spread_px[persons.found], torch.full((1, 17), 8.0))
    torch.testing.assert_close(persons.keypoints[0, 0, 0], torch.tensor([2 * 4 * 6.0, 2 * 4 * 9.0]))


def test_views_that_agree_at_every_scale_have_no_spread():
    joints = torch.rand(COCO.num_joints, 2) * torch.tensor([4.0 * WIDTH, 4.0 * HEIGHT])
    maps = []
    for scale in (2.0, 1.0, 0.5):
        height, width = int(HEIGHT * scale), int(WIDTH * scale)
        heatmap = torch.zeros(1, 18, height, width)
        heatmap[:, :, height // 2, width // 2] = 1.0
        offset = ideal_offset(joints * scale, height, width)[None]
        maps.append(ScaleMaps(scale, heatmap, DenseOffsets(offset), mirrored=False))
    persons = Decoder(COCO, OFFICIAL, 0.0)(maps, (4 * HEIGHT, 4 * WIDTH), IDENTITY)
    assert persons.found.sum() == 3
    assert persons.spread_px[persons.found].max() < 1e-4
    torch.testing.assert_close(persons.keypoints[0, 0], joints)


@BOTH
def test_the_predictor_runs_under_both_protocols(protocol):
    image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), np.uint8)
    poses = Predictor(noisy_network(), input_size=64, protocol=protocol, precision="float32")([image, image])
    assert len(poses[0]) > 0
    np.testing.assert_allclose(poses[0].keypoints, poses[1].keypoints, atol=1e-3)
