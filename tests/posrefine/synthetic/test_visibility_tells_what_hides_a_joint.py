"""One person with all joints at one spot, 3 m away, and one surface over that spot."""

from __future__ import annotations

import numpy as np
import pytest

from posrefine.synthetic.anatomy import BODY_JOINTS
from posrefine.synthetic.rasterizer import Faces, rasterize
from posrefine.synthetic.visibility import visibility

_SQUARE = np.array([[[8.0, 8.0], [24.0, 8.0], [24.0, 24.0], [8.0, 24.0]]])


def _seen(joint: str, *, owner: int, surface_m: float, at: tuple[float, float] = (16.0, 16.0)) -> bool:
    faces = Faces(_SQUARE, np.array([surface_m]), np.zeros((1, 3)), np.array([owner], np.uint8))
    places = np.full((1, len(BODY_JOINTS), 2), at)
    depths = np.full((1, len(BODY_JOINTS)), 3.0)
    seen = visibility(rasterize(faces, 32, 32), places, depths, np.ones(1))
    return bool(seen[0, BODY_JOINTS.index(joint)])


@pytest.mark.parametrize("joint", ["left_elbow", "right_knee", "nose"])
def test_the_own_limb_around_a_joint_shows_it(joint):
    assert _seen(joint, owner=1, surface_m=2.98)


@pytest.mark.parametrize("joint", ["left_elbow", "right_knee", "nose", "left_hip"])
def test_another_part_of_the_own_body_hides_it(joint):
    assert not _seen(joint, owner=1, surface_m=2.75)


@pytest.mark.parametrize("owner", [0, 2])
def test_things_and_other_persons_hide_it(owner):
    assert not _seen("left_elbow", owner=owner, surface_m=2.98)


def test_a_joint_on_the_outline_is_seen_and_one_off_the_body_is_not():
    assert _seen("left_ear", owner=1, surface_m=2.99, at=(8.2, 16.0))
    assert not _seen("left_ear", owner=1, surface_m=2.99, at=(4.0, 16.0))


def test_a_joint_outside_the_image_is_not_seen():
    assert not _seen("left_elbow", owner=1, surface_m=2.98, at=(-500.0, 16.0))
