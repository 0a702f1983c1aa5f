"""Which test scales have a say about a person, and whose proposal stands for it."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posrefine.inference.decoding.decoder import Decoder
from posrefine.inference.decoding.heat import joint_heat
from posrefine.inference.decoding.proposals import centre_proposals
from posrefine.inference.decoding.refinement import drawn_to_heat
from posrefine.inference.decoding.trust import size_trust
from posrefine.inference.decoding.views import ScaleMaps
from posrefine.inference.fast.offsets import DenseOffsets
from posrefine.modeling.score_net import ScoreNet
from posrefine.skeletons import COCO
from posrefine.test_protocols import OFFICIAL, POSREFINE, HeatSampling, NmsOrder

SIDE_PX = 256
INPUT_HW = (SIDE_PX, SIDE_PX)
IDENTITY = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
CENTRE_PX = 128.0
KNOWN_PX = 150.0
BY_SCORE = replace(OFFICIAL, nms_order=NmsOrder.SCORE, oks_is_score=True)
BOTH_SAMPLINGS = pytest.mark.parametrize("sampling", list(HeatSampling))


def pose_px(diagonal_px, seed=0):
    """[17, 2] around the input's middle, its box a square of that diagonal."""
    pose = torch.rand(17, 2, generator=torch.Generator().manual_seed(seed))
    pose[0], pose[1] = torch.zeros(2), torch.ones(2)
    return CENTRE_PX + (pose - 0.5) * diagonal_px / math.sqrt(2)


def random_maps(scales, seed=0):
    generator = torch.Generator().manual_seed(seed)
    sides = [int(SIDE_PX / 4 * scale) for scale in scales]
    return [
        ScaleMaps(
            scale,
            torch.rand(1, 18, side, side, generator=generator),
            DenseOffsets(torch.zeros(1, 34, 1, 1)),
            mirrored=False,
        )
        for scale, side in zip(scales, sides, strict=True)
    ]


@given(st.floats(3, 3000), st.lists(st.sampled_from([0.5, 1.0, 1.5, 2.0, 2.5, 3.0]), min_size=1, unique=True))
def test_the_scale_that_shows_a_person_nearest_to_the_known_size_is_trusted_most(diagonal_px, scales):
    trust = size_trust(pose_px(diagonal_px)[None, None], tuple(scales), KNOWN_PX)[0, 0]
    away = [abs(math.log(diagonal_px * scale / KNOWN_PX)) for scale in scales]
    assert ((trust > 0) & (trust <= 1)).all()
    assert away[int(trust.argmax())] == pytest.approx(min(away), abs=1e-4)


def test_trust_is_one_at_the_known_size_and_the_same_at_double_and_at_half_of_it():
    trust = size_trust(pose_px(KNOWN_PX)[None, None], (0.5, 1.0, 2.0, 4.0), KNOWN_PX)[0, 0].tolist()
    assert trust[1] == pytest.approx(1, abs=1e-5)
    assert trust[0] == pytest.approx(trust[2], abs=1e-5)
    assert trust[2] == pytest.approx(math.exp(-0.5 * (math.log(2) / 0.7) ** 2), abs=1e-5)
    assert trust[3] < 0.2 < trust[2] < 0.7


def test_a_pose_without_extent_is_trusted_somewhere():
    trust = size_trust(torch.zeros(1, 1, 17, 2), (1.0, 2.0), KNOWN_PX)
    assert (trust > 0).all()
    assert trust[0, 0, 1] > trust[0, 0, 0]


@BOTH_SAMPLINGS
def test_every_persons_heat_is_the_scales_heat_in_its_own_weights(sampling):
    maps = random_maps((2.0, 1.0))
    points = torch.rand(1, 3, 17, 2) * SIDE_PX
    weights = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.25, 0.75]]])
    of_scale = [joint_heat([m], points, INPUT_HW, sampling) for m in maps]
    heat = joint_heat(maps, points, INPUT_HW, sampling, weights)
    torch.testing.assert_close(heat[0, 0], of_scale[0][0, 0])
    torch.testing.assert_close(heat[0, 1], of_scale[1][0, 1])
    torch.testing.assert_close(heat[0, 2], 0.25 * of_scale[0][0, 2] + 0.75 * of_scale[1][0, 2])


@BOTH_SAMPLINGS
def test_with_one_scale_weights_change_nothing(sampling):
    maps, points = random_maps((1.0,)), torch.rand(1, 3, 17, 2) * SIDE_PX
    weighted = joint_heat(maps, points, INPUT_HW, sampling, torch.ones(1, 3, 1))
    assert torch.equal(weighted, joint_heat(maps, points, INPUT_HW, sampling))


def test_joints_are_drawn_to_the_heat_of_the_scales_that_count_for_their_person():
    maps = random_maps((2.0, 1.0))
    poses = torch.stack([pose_px(100, 1), pose_px(100, 2)])[None]
    sampling = HeatSampling.UPSAMPLED
    large, base = (drawn_to_heat([m], poses, INPUT_HW, sampling, COCO)[0] for m in maps)
    weights = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    drawn = drawn_to_heat(maps, poses, INPUT_HW, sampling, COCO, weights)[0]
    torch.testing.assert_close(drawn[0], large[0])
    torch.testing.assert_close(drawn[1], base[1])
    assert not torch.allclose(drawn[0], base[0])


def person_at_every_scale(pose, scales, moved_px=2.0):
    """Maps that are hot everywhere and whose only centre has the pose, at scale s moved by s * moved_px."""
    maps = []
    for scale in scales:
        side = int(SIDE_PX / 4 * scale)
        heatmap = torch.ones(1, 18, side, side)
        heatmap[:, -1] = 0.0
        heatmap[:, -1, side // 2, side // 2] = 1.0
        seen = pose + torch.tensor([scale * moved_px, 0.0])
        y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        offset = torch.stack([x, y]).float() - (seen * scale / 4)[:, :, None, None]
        maps.append(ScaleMaps(scale, heatmap, DenseOffsets(offset.flatten(0, 1)[None]), mirrored=False))
    return maps


def scale_that_stands(protocol, diagonal_px, scales=(2.0, 1.0)):
    pose = pose_px(diagonal_px)
    decoder = Decoder(COCO, protocol, nms_threshold=0.15)
    persons = decoder(person_at_every_scale(pose, scales), INPUT_HW, IDENTITY)
    assert persons.found.sum() == 1
    return float((persons.keypoints[0, 0] - pose)[:, 0].mean()) / 2.0


def test_a_small_person_is_as_the_larger_scale_saw_it_and_a_large_one_as_the_smaller():
    assert scale_that_stands(POSREFINE, 70) == pytest.approx(2.0, abs=0.1)
    assert scale_that_stands(POSREFINE, 180) == pytest.approx(1.0, abs=0.1)


def test_other_protocols_do_not_ask_for_a_persons_size():
    stands = {diagonal_px: scale_that_stands(OFFICIAL, diagonal_px) for diagonal_px in (70, 180)}
    assert stands[70] == pytest.approx(stands[180], abs=0.1)


def test_without_a_known_size_the_best_score_stands_whatever_the_size():
    by_score = replace(POSREFINE, known_size_px=None)
    for diagonal_px in (70, 180):
        # Centres of other scales than 1 count 0.9 of scale 1's.
        assert scale_that_stands(by_score, diagonal_px) == pytest.approx(1.0, abs=0.1)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99))
def test_by_score_the_best_scored_proposal_of_all_always_stands(seed):
    score_net = a_score_net(seed)
    score_net.l3.bias.fill_(0.5)
    maps = overlapping_proposals(seed)
    every, kept = (Decoder(COCO, BY_SCORE, t, score_net)(maps, INPUT_HW, IDENTITY) for t in (0.0, 0.4))
    assert 1 <= kept.found.sum() < every.found.sum()
    assert kept.scores[0, 0] == every.scores[0, 0]
    assert torch.equal(kept.keypoints[0, 0], every.keypoints[0, 0])


def test_proposals_of_equal_score_stand_in_the_order_of_their_centres():
    score_net = a_score_net(0)
    # Nothing is predicted to be any good.
    score_net.l3.bias.fill_(-9.0)
    maps = overlapping_proposals(0)
    plain = Decoder(COCO, replace(BY_SCORE, nms_order=NmsOrder.HEAT), 0.0)(maps, INPUT_HW, IDENTITY)
    persons = Decoder(COCO, BY_SCORE, 0.0, score_net)(maps, INPUT_HW, IDENTITY)
    assert (persons.scores[persons.found] == 0).all()
    centre = maps[0].heatmap[0, -1]
    peaks = centre_proposals(centre[None], BY_SCORE).cells[0]
    expected = 4 * (peaks[:, None] - maps[0].offsets.at(peaks[None])[0])
    torch.testing.assert_close(persons.keypoints[0], expected)
    assert not torch.equal(persons.keypoints, plain.keypoints)


def a_score_net(seed):
    torch.manual_seed(seed)
    return ScoreNet(COCO).requires_grad_(False)


def overlapping_proposals(seed):
    side = SIDE_PX // 4
    offset = 4 * torch.randn(1, 34, side, side, generator=torch.Generator().manual_seed(seed))
    return [replace(random_maps((1.0,), seed)[0], offsets=DenseOffsets(offset))]
