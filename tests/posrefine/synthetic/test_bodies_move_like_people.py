from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posrefine.synthetic.anatomy import BODY_JOINTS, Bone, Physique
from posrefine.synthetic.bodies import Body
from posrefine.synthetic.body_mesh import body_mesh
from posrefine.synthetic.kinematics import articulate
from posrefine.synthetic.pose_families import POSE_FAMILIES, sample_pose
from posrefine.synthetic.poses import JOINT_LIMITS_DEG, Pose

_JOINT = {name: index for index, name in enumerate(BODY_JOINTS)}
_ADULT = np.ones((len(Bone), 3))
_seeds = st.integers(0, 2**32 - 1)


def _joints(**angles_deg: float) -> dict[str, np.ndarray]:
    """Where the joints of a standard adult are, standing but for these angles, facing the viewer."""
    pose = Pose("standing", dict.fromkeys(JOINT_LIMITS_DEG, 0.0) | angles_deg)
    positions = articulate(pose.bone_angles_deg(), np.zeros(3), _ADULT).joints_m()
    return dict(zip(BODY_JOINTS, positions, strict=True))


@given(_seeds)
@settings(max_examples=100, deadline=None)
def test_every_pose_obeys_the_joint_limits(seed):
    pose = sample_pose(np.random.default_rng(seed))
    assert pose.angles_deg.keys() == JOINT_LIMITS_DEG.keys()
    for name, (low, high) in JOINT_LIMITS_DEG.items():
        assert low <= pose.angles_deg[name] <= high


def test_every_family_turns_up():
    rng = np.random.default_rng(0)
    families = {sample_pose(rng).family for _ in range(600)}
    assert set(POSE_FAMILIES) <= families


@given(_seeds)
@settings(max_examples=20, deadline=None)
def test_limbs_keep_their_length_in_every_pose(seed):
    rng = np.random.default_rng(seed)
    pose, scales = sample_pose(rng), Physique.sample(rng).scales
    posed = articulate(pose.bone_angles_deg(), rng.uniform(-180, 180, 3), scales).joints_m()
    rest = articulate(np.zeros((len(Bone), 3)), np.zeros(3), scales).joints_m()
    for first, second in (("left_shoulder", "left_elbow"), ("right_knee", "right_ankle"), ("nose", "head")):
        limb = [_JOINT[first], _JOINT[second]]
        assert np.linalg.norm(np.diff(posed[limb], axis=0)) == pytest.approx(
            np.linalg.norm(np.diff(rest[limb], axis=0))
        )


def test_facing_the_viewer_the_left_side_is_on_the_viewers_right():
    joints = _joints()
    assert joints["left_shoulder"][0] > 0 > joints["right_shoulder"][0]
    assert joints["nose"][2] > joints["head"][2]


def test_elbows_bend_forwards_and_knees_backwards():
    joints = _joints(left_elbow_flex=90.0, right_knee_flex=90.0)
    assert joints["left_wrist"][2] > joints["left_elbow"][2] + 0.2
    assert joints["right_ankle"][2] < joints["right_knee"][2] - 0.3


@pytest.mark.parametrize("side", ["left", "right"])
def test_arms_and_legs_spread_to_their_own_side(side):
    outwards = 1.0 if side == "left" else -1.0
    joints = _joints(**{f"{side}_shoulder_abduct": 90.0, f"{side}_hip_abduct": 40.0})
    assert outwards * (joints[f"{side}_wrist"][0] - joints[f"{side}_shoulder"][0]) > 0.5
    assert outwards * (joints[f"{side}_ankle"][0] - joints[f"{side}_hip"][0]) > 0.4


@pytest.mark.parametrize("side", ["left", "right"])
def test_inward_rotation_brings_the_forearm_before_the_belly(side):
    outwards = 1.0 if side == "left" else -1.0
    joints = _joints(**{f"{side}_shoulder_rotate": 70.0, f"{side}_elbow_flex": 90.0})
    assert outwards * (joints[f"{side}_wrist"][0] - joints[f"{side}_elbow"][0]) < -0.2


@pytest.mark.parametrize("fine", [True, False])
def test_the_surface_is_mirror_symmetric(fine):
    mesh = body_mesh(fine=fine)
    here = {tuple(point) for point in np.round(mesh.vertices, 6).tolist()}
    mirrored = {tuple(point) for point in (np.round(mesh.vertices * (-1, 1, 1), 6) + 0.0).tolist()}
    assert mirrored == {tuple((np.array(point) + 0.0).tolist()) for point in here}


@given(_seeds)
@settings(max_examples=20, deadline=None)
def test_bodies_stand_on_the_ground(seed):
    body = Body.sample(np.random.default_rng(seed), fine=False)
    assert body.vertices_m[:, 1].min() == pytest.approx(body.pose.lift_m, abs=1e-9)
    assert 0.8 < body.physique.stature_m < 2.2
