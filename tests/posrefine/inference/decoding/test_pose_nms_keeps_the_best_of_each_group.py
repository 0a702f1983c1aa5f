"""Pose NMS for a batch against going through the pairs one by one."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from posrefine.inference.decoding.nms import close_poses, keep_one_per_group


def kept_one_by_one(poses, heat, found, threshold, min_close):
    """The published loop over one image's poses."""
    count = len(poses)
    present = [i for i in range(count) if found[i]]
    groups = {}
    for i in present:
        width, height = (poses[i].amax(0) - poses[i].amin(0)).tolist()
        reach = threshold * math.hypot(width, height)
        groups[i] = [
            j
            for j in present
            if i == j or (poses[i] - poses[j]).norm(dim=-1).lt(reach).sum().item() > min_close
        ]
    dealt_with, kept = set(), set()
    for i in present:
        if i in dealt_with:
            continue
        best = max(groups[i], key=lambda j: heat[j].item())
        if best in dealt_with:
            continue
        kept.add(best)
        dealt_with.update(groups[i])
    return [i in kept for i in range(count)]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9999), st.integers(1, 25), st.sampled_from([0.02, 0.05, 0.15]), st.integers(1, 4))
def test_a_batch_keeps_what_going_one_by_one_keeps(seed, count, threshold, persons):
    generator = torch.Generator().manual_seed(seed)
    bodies = torch.rand(3, persons, 17, 2, generator=generator) * 100
    who = torch.randint(persons, (3, count), generator=generator)
    poses = bodies[torch.arange(3)[:, None], who] + torch.randn(3, count, 17, 2, generator=generator) * 4
    heat = torch.rand(3, count, generator=generator)
    found = torch.rand(3, count, generator=generator) > 0.2
    kept = keep_one_per_group(close_poses(poses, threshold, 8), heat, found)
    for image in range(3):
        expected = kept_one_by_one(poses[image], heat[image], found[image], threshold, 8)
        assert kept[image].tolist() == expected


def test_a_pose_without_extent_is_a_group_of_its_own():
    poses = torch.zeros(1, 2, 17, 2)
    groups = close_poses(poses, 0.05, 8)
    assert torch.equal(groups[0], torch.eye(2, dtype=torch.bool))
    assert keep_one_per_group(groups, torch.tensor([[0.1, 0.2]]), torch.tensor([[True, True]])).all()


def test_one_more_close_joint_than_the_limit_makes_two_poses_one():
    pose = torch.rand(17, 2) * 100
    other = pose + 1000
    other[:8] = pose[:8]
    assert not close_poses(torch.stack([pose, other])[None], 0.05, 8)[0, 0, 1]
    other[:9] = pose[:9]
    assert close_poses(torch.stack([pose, other])[None], 0.05, 8)[0, 0, 1]


def test_the_order_of_proposals_decides_chains():
    # Pose 1 is close to 0 and to 2, which are not close to each other.
    groups = torch.tensor([[[1, 1, 0], [1, 1, 1], [0, 1, 1]]], dtype=torch.bool)
    heat = torch.tensor([[0.5, 0.3, 0.4]])
    found = torch.ones(1, 3, dtype=torch.bool)
    assert keep_one_per_group(groups, heat, found).tolist() == [[True, False, True]]
    middle_first = groups[:, [1, 0, 2]][:, :, [1, 0, 2]]
    kept = keep_one_per_group(middle_first, heat[:, [1, 0, 2]], found)
    assert kept.tolist() == [[False, True, False]]


def test_an_image_without_proposals_keeps_nothing_beside_one_that_does():
    groups = torch.ones(2, 4, 4, dtype=torch.bool)
    found = torch.tensor([[False] * 4, [True] * 4])
    kept = keep_one_per_group(groups, torch.arange(8.0).view(2, 4), found)
    assert kept.tolist() == [[False] * 4, [False, False, False, True]]
