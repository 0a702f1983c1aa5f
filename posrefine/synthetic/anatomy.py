"""Bones of the rendered body at rest, and how bodies differ.

Body frame: metres, x towards the person's own left, y up, z the way the person faces, origin between the hip
joints. At rest the person stands with hanging arms. Segment lengths follow Drillis and Contini's fractions of
stature, for a stature of 1.75 m.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

__all__ = ["BODY_JOINTS", "JOINT_BONES", "JOINT_POSITIONS", "PARENTS", "REST_ORIGINS", "Bone", "Physique"]

Array = NDArray[np.float64]


class Bone(IntEnum):
    """Rigid parts; a parent always comes before its children."""

    PELVIS = 0
    CHEST = 1
    HEAD = 2
    LEFT_UPPER_ARM = 3
    LEFT_FOREARM = 4
    LEFT_HAND = 5
    RIGHT_UPPER_ARM = 6
    RIGHT_FOREARM = 7
    RIGHT_HAND = 8
    LEFT_THIGH = 9
    LEFT_SHANK = 10
    LEFT_FOOT = 11
    RIGHT_THIGH = 12
    RIGHT_SHANK = 13
    RIGHT_FOOT = 14


PARENTS: tuple[int, ...] = (-1, 0, 1, 1, 3, 4, 1, 6, 7, 0, 9, 10, 0, 12, 13)

REST_ORIGINS: Array = np.array(
    [
        (0.0, 0.0, 0.0), (0.0, 0.13, 0.0), (0.0, 0.60, 0.0),
        (0.175, 0.49, 0.0), (0.175, 0.20, 0.0), (0.175, -0.055, 0.0),
        (-0.175, 0.49, 0.0), (-0.175, 0.20, 0.0), (-0.175, -0.055, 0.0),
        (0.09, 0.0, 0.0), (0.09, -0.43, 0.0), (0.09, -0.85, 0.0),
        (-0.09, 0.0, 0.0), (-0.09, -0.43, 0.0), (-0.09, -0.85, 0.0),
    ]
)  # fmt: skip
"""[15, 3]: the joint about which each bone turns, body frame at rest."""

_JOINTS: tuple[tuple[str, Bone, tuple[float, float, float]], ...] = (
    ("nose", Bone.HEAD, (0.0, 0.678, 0.118)),
    ("left_eye", Bone.HEAD, (0.032, 0.715, 0.088)),
    ("right_eye", Bone.HEAD, (-0.032, 0.715, 0.088)),
    ("left_ear", Bone.HEAD, (0.080, 0.700, -0.008)),
    ("right_ear", Bone.HEAD, (-0.080, 0.700, -0.008)),
    ("left_shoulder", Bone.LEFT_UPPER_ARM, (0.175, 0.49, 0.0)),
    ("right_shoulder", Bone.RIGHT_UPPER_ARM, (-0.175, 0.49, 0.0)),
    ("left_elbow", Bone.LEFT_FOREARM, (0.175, 0.20, 0.0)),
    ("right_elbow", Bone.RIGHT_FOREARM, (-0.175, 0.20, 0.0)),
    ("left_wrist", Bone.LEFT_HAND, (0.175, -0.055, 0.0)),
    ("right_wrist", Bone.RIGHT_HAND, (-0.175, -0.055, 0.0)),
    ("left_hip", Bone.LEFT_THIGH, (0.09, 0.0, 0.0)),
    ("right_hip", Bone.RIGHT_THIGH, (-0.09, 0.0, 0.0)),
    ("left_knee", Bone.LEFT_SHANK, (0.09, -0.43, 0.0)),
    ("right_knee", Bone.RIGHT_SHANK, (-0.09, -0.43, 0.0)),
    ("left_ankle", Bone.LEFT_FOOT, (0.09, -0.85, 0.0)),
    ("right_ankle", Bone.RIGHT_FOOT, (-0.09, -0.85, 0.0)),
    ("head", Bone.HEAD, (0.0, 0.825, 0.0)),
    ("neck", Bone.CHEST, (0.0, 0.535, 0.0)),
)

BODY_JOINTS: tuple[str, ...] = tuple(name for name, _, _ in _JOINTS)
"""Every joint that is annotated: COCO's 17 and CrowdPose's `head` (the top of the skull) and `neck`."""
JOINT_BONES: NDArray[np.intp] = np.array([bone for _, bone, _ in _JOINTS], np.intp)
JOINT_POSITIONS: Array = np.array([position for _, _, position in _JOINTS])

_ARMS = [Bone.LEFT_UPPER_ARM, Bone.LEFT_FOREARM, Bone.RIGHT_UPPER_ARM, Bone.RIGHT_FOREARM]
_LEGS = [Bone.LEFT_THIGH, Bone.LEFT_SHANK, Bone.RIGHT_THIGH, Bone.RIGHT_SHANK]
_HANDS = [Bone.LEFT_HAND, Bone.RIGHT_HAND]
_FEET = [Bone.LEFT_FOOT, Bone.RIGHT_FOOT]


@dataclass(frozen=True)
class Physique:
    """One person's build: every bone's scale along x, y and z against the adult at rest.

    Attributes:
        scales: [15, 3].
        stature_m: standing height.
        girth: thickness of the body, 1 for the average.
    """

    scales: Array
    stature_m: float
    girth: float

    @staticmethod
    def sample(rng: np.random.Generator) -> Physique:
        """An adult or, one time in five, a child of about 4 to 12 years."""
        if rng.random() < 0.2:
            return _child(rng)
        return _build(
            size=float(np.clip(rng.normal(0.98, 0.055), 0.84, 1.15)),
            head=float(rng.normal(1.0, 0.035)),
            legs=float(rng.normal(1.0, 0.03)),
            girth=float(np.clip(rng.normal(1.02, 0.14), 0.78, 1.5)),
            shoulders=float(rng.normal(1.0, 0.07)),
        )


def _child(rng: np.random.Generator) -> Physique:
    size = float(rng.uniform(0.55, 0.85))
    youth = (0.9 - size) / 0.35
    return _build(
        size=size,
        head=1.0 + 0.55 * youth,
        legs=1.0 - 0.12 * youth,
        girth=float(rng.uniform(0.95, 1.2)),
        shoulders=1.0 - 0.06 * youth,
    )


def _build(*, size: float, head: float, legs: float, girth: float, shoulders: float) -> Physique:
    scales = np.full((len(Bone), 3), size)
    scales[Bone.CHEST] *= (shoulders * (0.7 + 0.3 * girth), 1.0, girth)
    scales[Bone.PELVIS] *= (0.5 + 0.5 * girth, 1.0, girth)
    scales[_ARMS] *= (girth, 1.0, girth)
    scales[_LEGS] *= (0.15 + 0.85 * girth, legs, 0.15 + 0.85 * girth)
    scales[_HANDS + _FEET] *= 0.6 + 0.4 * girth
    scales[Bone.HEAD] *= head
    leg_m = 0.92 * legs * size
    return Physique(scales=scales, stature_m=leg_m + 0.60 * size + 0.23 * head * size, girth=girth)
