"""The body's surface at rest.

One template serves everybody: physique, pose, and what is worn change where its vertices go and which quads
are drawn, never the topology.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from posrefine.synthetic.anatomy import REST_ORIGINS, Bone
from posrefine.synthetic.head_mesh import hair_meshes, head_meshes
from posrefine.synthetic.mesh import Lofter, Mesh, Profile, Region, halves, patch

__all__ = ["body_mesh"]

Array = NDArray[np.float64]

_COARSE = 0.6

# Profiles: place on the axis, half width (x), half depth, centre x, centre of the depth; limbs relative to
# their bone.
_TORSO: Profile = [
    (0.575, 0.052, 0.052, 0.0, -0.005), (0.55, 0.075, 0.062, 0.0, -0.008), (0.53, 0.115, 0.075, 0.0, -0.010),
    (0.50, 0.168, 0.090, 0.0, -0.006), (0.46, 0.180, 0.106, 0.0, 0.0), (0.40, 0.176, 0.118, 0.0, 0.006),
    (0.33, 0.166, 0.119, 0.0, 0.008), (0.26, 0.152, 0.110, 0.0, 0.006), (0.19, 0.143, 0.102, 0.0, 0.004),
    (0.12, 0.148, 0.105, 0.0, 0.002), (0.05, 0.164, 0.113, 0.0, -0.004), (0.0, 0.170, 0.118, 0.0, -0.010),
    (-0.05, 0.164, 0.115, 0.0, -0.012), (-0.09, 0.135, 0.090, 0.0, -0.008), (-0.105, 0.05, 0.04, 0.0, -0.004),
]  # fmt: skip
_UPPER_ARM: Profile = [
    (0.050, 0.012, 0.012, 0, 0), (0.042, 0.032, 0.034, 0, 0), (0.018, 0.047, 0.050, 0, 0),
    (-0.03, 0.052, 0.056, 0, 0),
    (-0.10, 0.048, 0.051, 0, 0), (-0.18, 0.043, 0.046, 0, 0), (-0.26, 0.039, 0.040, 0, 0),
    (-0.295, 0.036, 0.037, 0, 0),
    (-0.318, 0.022, 0.022, 0, 0),
]  # fmt: skip
_FOREARM: Profile = [
    (0.032, 0.018, 0.018, 0, 0), (0.015, 0.035, 0.036, 0, 0), (-0.02, 0.041, 0.041, 0, 0),
    (-0.07, 0.041, 0.042, 0, 0),
    (-0.14, 0.035, 0.036, 0, 0), (-0.21, 0.027, 0.029, 0, 0), (-0.255, 0.024, 0.028, 0, 0),
    (-0.27, 0.02, 0.024, 0, 0),
]  # fmt: skip
_HAND: Profile = [
    (0.012, 0.018, 0.022, 0, 0), (-0.01, 0.021, 0.030, 0, 0), (-0.05, 0.019, 0.042, 0, 0),
    (-0.10, 0.017, 0.044, 0, 0),
    (-0.15, 0.014, 0.036, 0, 0), (-0.185, 0.008, 0.018, 0, 0), (-0.19, 0.002, 0.004, 0, 0),
]  # fmt: skip
_THUMB: Profile = [
    (-0.015, 0.010, 0.010, 0.0, 0.025), (-0.05, 0.011, 0.011, -0.006, 0.048),
    (-0.085, 0.010, 0.009, -0.010, 0.060),
    (-0.105, 0.003, 0.003, -0.010, 0.062),
]  # fmt: skip
_THIGH: Profile = [
    (0.075, 0.03, 0.03, 0, 0), (0.055, 0.062, 0.066, 0, 0), (0.02, 0.083, 0.092, 0, 0),
    (-0.05, 0.089, 0.098, 0, 0),
    (-0.15, 0.083, 0.091, 0, 0), (-0.26, 0.070, 0.077, 0, 0), (-0.36, 0.060, 0.065, 0, 0),
    (-0.43, 0.055, 0.060, 0, 0),
    (-0.465, 0.046, 0.048, 0, 0), (-0.48, 0.02, 0.02, 0, 0),
]  # fmt: skip
_SHANK: Profile = [
    (0.045, 0.02, 0.02, 0, 0), (0.03, 0.044, 0.046, 0, 0), (0.0, 0.053, 0.056, 0, 0),
    (-0.06, 0.056, 0.060, 0, -0.006),
    (-0.13, 0.058, 0.062, 0, -0.012), (-0.21, 0.050, 0.052, 0, -0.008), (-0.30, 0.039, 0.041, 0, -0.003),
    (-0.38, 0.034, 0.037, 0, 0), (-0.43, 0.036, 0.040, 0, 0), (-0.45, 0.03, 0.032, 0, 0),
]  # fmt: skip
_FOOT: Profile = [
    (-0.072, 0.010, 0.010, 0, -0.045), (-0.064, 0.030, 0.030, 0, -0.040), (-0.03, 0.039, 0.046, 0, -0.024),
    (0.02, 0.043, 0.044, 0, -0.026), (0.06, 0.046, 0.033, 0, -0.037), (0.11, 0.049, 0.025, 0, -0.045),
    (0.155, 0.043, 0.019, 0, -0.051), (0.18, 0.025, 0.014, 0, -0.055), (0.186, 0.006, 0.006, 0, -0.056),
]  # fmt: skip
_SOLE: Profile = [
    (-0.07, 0.02, 0.005, 0, -0.066), (-0.05, 0.040, 0.010, 0, -0.066), (0.12, 0.052, 0.010, 0, -0.066),
    (0.185, 0.02, 0.006, 0, -0.066),
]  # fmt: skip
_SKIRT: Profile = [
    (0.09, 0.165, 0.120, 0, 0), (0.0, 0.195, 0.145, 0, -0.008), (-0.2, 0.220, 0.170, 0, 0),
    (-0.46, 0.255, 0.205, 0, 0),
]  # fmt: skip
_BACKPACK: Profile = [
    (0.50, 0.03, 0.02, 0.0, -0.14), (0.48, 0.115, 0.055, 0.0, -0.155), (0.36, 0.130, 0.080, 0.0, -0.175),
    (0.22, 0.130, 0.085, 0.0, -0.175), (0.16, 0.115, 0.070, 0.0, -0.16), (0.14, 0.03, 0.02, 0.0, -0.15),
]  # fmt: skip
_WAIST_Y = 0.085
_COLLAR_Y = 0.535


@lru_cache(maxsize=2)
def body_mesh(*, fine: bool) -> Mesh:
    """The template: about 2,000 quads, or 800 for persons too small to show the difference."""
    lofter = Lofter(1.0 if fine else _COARSE)
    parts = [*_torso(lofter), *head_meshes(lofter), *hair_meshes(lofter), _skirt(lofter), _backpack(lofter)]
    for sign, arm, leg in (
        (1.0, Bone.LEFT_UPPER_ARM, Bone.LEFT_THIGH),
        (-1.0, Bone.RIGHT_UPPER_ARM, Bone.RIGHT_THIGH),
    ):
        parts += [*_arm(lofter, sign, arm), *_leg(lofter, leg)]
    return Mesh.join(parts)


def _torso(lofter: Lofter) -> list[Mesh]:
    rings = lofter.rings(_TORSO, 24)
    regions = [_torso_region(y) for y in 0.5 * (rings[1:, 0] + rings[:-1, 0])]
    weights = np.clip((rings[:, 0] - 0.02) / 0.22, 0.0, 1.0)
    trunk = lofter.tube(rings, regions, sides=18, bones=(Bone.PELVIS, Bone.CHEST), weights=weights)
    return [trunk, patch(_front_strip(), Region.PLACKET, Bone.CHEST)]


def _torso_region(y: float) -> Region:
    if y > _COLLAR_Y:
        return Region.NECKLINE
    if y > _WAIST_Y:
        return Region.TORSO
    return Region.BELT if y > _WAIST_Y - 0.035 else Region.PELVIS


def _front_strip() -> Array:
    """[7, 4, 3] a ribbon down the chest, a little in front of it."""
    profile = np.array(_TORSO[::-1])
    heights = np.linspace(0.50, 0.13, 8)
    depths = np.interp(heights, profile[:, 0], profile[:, 2] + profile[:, 4]) + 0.012
    points = np.stack([heights, depths], axis=1)
    corners = [(-0.016, points[1:]), (0.016, points[1:]), (0.016, points[:-1]), (-0.016, points[:-1])]
    return np.stack([np.column_stack([np.full(len(yz), x), yz]) for x, yz in corners], axis=1)


def _limb(
    lofter: Lofter, profile: Profile, count: int, bone: int, *, axis: int = 1, mirror: float = 1.0
) -> Array:
    """The profile's rings, moved to where the bone is at rest."""
    x, y, z = REST_ORIGINS[bone]
    along, deep = (y, z) if axis == 1 else (z, y)
    rings = lofter.rings(profile, count) * (1, 1, 1, mirror, 1)
    return np.asarray(rings + np.array([along, 0.0, 0.0, x, deep]))


def _arm(lofter: Lofter, sign: float, bone: int) -> list[Mesh]:
    upper, fore, hand = bone, bone + 1, bone + 2
    top, low = _limb(lofter, _UPPER_ARM, 14, upper), _limb(lofter, _FOREARM, 12, fore)
    palm, thumb = _limb(lofter, _HAND, 7, hand), _limb(lofter, _THUMB, 4, hand, mirror=sign)
    return [
        lofter.tube(
            top, halves(top, Region.SLEEVE_TOP, Region.SLEEVE_LOW, 0.6), sides=12, bones=(upper, upper)
        ),
        lofter.tube(low, halves(low, Region.FOREARM_TOP, Region.FOREARM_LOW), sides=12, bones=(fore, fore)),
        lofter.tube(palm, [Region.HAND] * (len(palm) - 1), sides=8, bones=(hand, hand)),
        lofter.tube(thumb, [Region.HAND] * (len(thumb) - 1), sides=5, bones=(hand, hand)),
    ]


def _leg(lofter: Lofter, bone: int) -> list[Mesh]:
    thigh, shank, foot = bone, bone + 1, bone + 2
    top, low = _limb(lofter, _THIGH, 16, thigh), _limb(lofter, _SHANK, 14, shank)
    shoe, sole = _limb(lofter, _FOOT, 10, foot, axis=2), _limb(lofter, _SOLE, 4, foot, axis=2)
    return [
        lofter.tube(
            top, halves(top, Region.THIGH_TOP, Region.THIGH_LOW, 0.6), sides=14, bones=(thigh, thigh)
        ),
        lofter.tube(low, halves(low, Region.SHANK_TOP, Region.SHANK_LOW), sides=12, bones=(shank, shank)),
        lofter.tube(shoe, [Region.FOOT] * (len(shoe) - 1), sides=10, bones=(foot, foot), axis=2),
        lofter.tube(sole, [Region.SOLE] * (len(sole) - 1), sides=8, bones=(foot, foot), axis=2),
    ]


def _skirt(lofter: Lofter) -> Mesh:
    """Follows the pelvis at the waist and, further down, the thigh of each side."""
    rings = lofter.rings(_SKIRT, 15)
    regions = halves(rings, Region.SKIRT_TOP, Region.SKIRT_LOW, 0.55)
    tube = lofter.tube(rings, regions, sides=20, bones=(Bone.PELVIS, Bone.PELVIS))
    thighs = np.where(tube.vertices[:, 0] > 0.0, Bone.LEFT_THIGH, Bone.RIGHT_THIGH)
    bones = np.stack([tube.bones[:, 0], thighs], axis=1)
    return replace(tube, bones=bones, weights=np.clip((0.06 - tube.vertices[:, 1]) / 0.22, 0.0, 1.0))


def _backpack(lofter: Lofter) -> Mesh:
    rings = np.array(_BACKPACK)
    return lofter.tube(rings, [Region.BACKPACK] * 5, sides=10, bones=(Bone.CHEST, Bone.CHEST))
