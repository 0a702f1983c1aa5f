import dataclasses

import pytest

from posrefine.errors import ConfigurationError
from posrefine.skeletons import COCO, CROWDPOSE, SKELETONS

every_skeleton = pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)


@every_skeleton
def test_mirroring_twice_is_the_identity(skeleton):
    order = skeleton.flip_order
    assert sorted(order) == list(range(skeleton.num_joints))
    assert [order[mirror] for mirror in order] == list(range(skeleton.num_joints))


@every_skeleton
def test_joints_of_a_mirror_pair_differ_in_side_alone_and_share_their_tolerance(skeleton):
    for joint, mirror in enumerate(skeleton.flip_order):
        assert skeleton.sigmas[joint] == skeleton.sigmas[mirror]
        sides = {skeleton.joints[joint].split("_")[0], skeleton.joints[mirror].split("_")[0]}
        assert joint == mirror or sides == {"left", "right"}


@every_skeleton
def test_limbs_mirror_into_limbs(skeleton):
    limbs = {frozenset(limb) for limb in skeleton.limbs}
    assert {frozenset(skeleton.flip_order[joint] for joint in limb) for limb in limbs} == limbs


@every_skeleton
def test_every_limb_joins_two_joints_once(skeleton):
    for limbs in (skeleton.limbs, skeleton.score_limbs):
        assert all(first != second and max(first, second) < skeleton.num_joints for first, second in limbs)
        assert len({frozenset(limb) for limb in limbs}) == len(limbs)


def test_coco_has_pycocotools_joint_count_and_sigmas():
    from pycocotools.cocoeval import Params

    assert COCO.sigmas == pytest.approx(Params(iouType="keypoints").kpt_oks_sigmas.tolist(), rel=1e-15)
    assert (COCO.num_joints, CROWDPOSE.num_joints) == (17, 14)


def test_the_unit_of_rescoring_is_the_left_and_right_side_of_the_torso():
    names = [COCO.joints[joint] for limb in COCO.score_reference_limbs for joint in COCO.score_limbs[limb]]
    assert names == ["left_shoulder", "left_hip", "right_shoulder", "right_hip"]


def test_one_sigma_too_few_is_refused():
    with pytest.raises(ConfigurationError, match="16 sigmas for 17 joints"):
        dataclasses.replace(COCO, sigmas=COCO.sigmas[:-1])


def test_a_repeated_joint_is_refused():
    with pytest.raises(ConfigurationError, match="joint names repeat"):
        dataclasses.replace(COCO, joints=("nose", *COCO.joints[:-1]))
