"""Where an offset points and where the heat is: the likeliest place in between."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posrefine.inference.decoding.decoder import Decoder
from posrefine.inference.decoding.refinement import drawn_to_heat, offset_errors
from posrefine.inference.decoding.views import ScaleMaps
from posrefine.inference.fast.offsets import DenseOffsets
from posrefine.skeletons import COCO, CROWDPOSE, SKELETONS
from posrefine.test_protocols import OFFICIAL, POSREFINE, HeatSampling

SIDE_CELLS = 64
INPUT_HW = (4 * SIDE_CELLS, 4 * SIDE_CELLS)
WRIST, NOSE = COCO.joints.index("left_wrist"), COCO.joints.index("nose")


def heatmaps(hot_px, skeleton=COCO):
    """One image's maps with a Gaussian of 1.5 cells per joint at hot_px [K, 2], NaN for none; scale 1."""
    line = torch.arange(SIDE_CELLS)
    y, x = torch.meshgrid(line, line, indexing="ij")
    # Pixel 4c of the enlarged map is cell c to within the last block's repetition.
    at = hot_px * ((SIDE_CELLS - 1) / (4 * SIDE_CELLS - 4))
    away = (x - at[:, 0, None, None]) ** 2 + (y - at[:, 1, None, None]) ** 2
    heat = torch.exp(-away / (2 * 1.5**2)).nan_to_num(nan=0.0)
    heat = torch.cat([heat, torch.zeros(1, SIDE_CELLS, SIDE_CELLS)])[None]
    return ScaleMaps(1.0, heat, DenseOffsets(torch.zeros(1, 2 * len(skeleton.joints), 1, 1)), mirrored=False)


def pose_px(seed, skeleton=COCO):
    """[K, 2] inside the input, its box 80 to 110 px."""
    generator = torch.Generator().manual_seed(seed)
    pose = torch.rand(skeleton.num_joints, 2, generator=generator) * 60 + 90
    pose[0], pose[1] = torch.tensor([85.0, 85.0]), torch.tensor([155.0, 155.0])
    return pose


def drawn(maps, pose, skeleton=COCO):
    return drawn_to_heat([maps], pose[None, None], INPUT_HW, HeatSampling.UPSAMPLED, skeleton)[0, 0]


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_joints_stay_where_nothing_is_hot(skeleton):
    pose = pose_px(0, skeleton)
    nothing = heatmaps(torch.full((skeleton.num_joints, 2), torch.nan), skeleton)
    torch.testing.assert_close(drawn(nothing, pose, skeleton), pose, atol=1e-3, rtol=0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.floats(0, 6.28))
def test_joints_come_nearer_to_heat_that_an_offset_can_have_missed(seed, direction):
    pose = pose_px(seed)
    diagonal_px = (pose.amax(0) - pose.amin(0)).norm()
    missed_px = (diagonal_px * torch.tensor(offset_errors(COCO))).clamp(2, 12)[:, None]
    hot = pose + missed_px * torch.tensor([direction, direction + 1.5708]).cos()
    before, after = (hot - pose).norm(dim=1), (hot - drawn(heatmaps(hot), pose)).norm(dim=1)
    assert (after < before).all()
    assert after.mean() < 0.7 * before.mean()


def test_heat_of_somebody_else_farther_away_moves_nothing():
    pose = pose_px(3)
    elsewhere = heatmaps(pose + torch.tensor([60.0, 0.0]))
    torch.testing.assert_close(drawn(elsewhere, pose), pose, atol=0.5, rtol=0)


def test_a_wrist_may_be_drawn_farther_than_a_nose():
    pose = pose_px(4)
    moved = (drawn(heatmaps(pose + torch.tensor([7.0, 0.0])), pose) - pose)[:, 0]
    assert moved[WRIST] > moved[NOSE]


def test_both_skeletons_know_how_far_each_of_their_joints_is_missed():
    for skeleton in (COCO, CROWDPOSE):
        errors = offset_errors(skeleton)
        assert len(errors) == skeleton.num_joints
        assert min(errors) > 0
    assert offset_errors(COCO)[WRIST] > offset_errors(COCO)[NOSE]


def test_other_images_and_persons_of_a_batch_change_nothing():
    poses = torch.stack([torch.stack([pose_px(i), pose_px(i + 10)]) for i in range(2)])
    each = [heatmaps(poses[i, 0] + 5) for i in range(2)]
    both = replace(each[0], heatmap=torch.cat([maps.heatmap for maps in each]))
    together = drawn_to_heat([both], poses, INPUT_HW, HeatSampling.UPSAMPLED, COCO)
    for i, maps in enumerate(each):
        for person in range(2):
            torch.testing.assert_close(together[i, person], drawn(maps, poses[i, person]))


def test_only_the_protocol_that_says_so_draws_joints():
    generator = torch.Generator().manual_seed(0)
    heat = torch.rand(1, 18, SIDE_CELLS, SIDE_CELLS, generator=generator)
    offsets = 8 * torch.randn(1, 34, SIDE_CELLS, SIDE_CELLS, generator=generator)
    maps = ScaleMaps(1.0, heat, DenseOffsets(offsets), mirrored=False)
    in_image = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    plain, refined, same = (
        Decoder(COCO, protocol, 0.0)([maps], INPUT_HW, in_image)
        for protocol in (OFFICIAL, POSREFINE, replace(POSREFINE, draw_to_heat=False))
    )
    assert torch.equal(plain.keypoints, same.keypoints)
    assert refined.keypoint_scores.mean() > plain.keypoint_scores.mean()
    assert not torch.equal(refined.keypoints, plain.keypoints)
