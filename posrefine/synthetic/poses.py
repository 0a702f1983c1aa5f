"""A posture: degrees of freedom with anatomical limits.

Limits are the usual clinical ranges of motion (American Academy of Orthopaedic Surgeons), rounded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posrefine.synthetic.anatomy import Bone

__all__ = ["JOINT_LIMITS_DEG", "Angles", "Pose"]

Array = NDArray[np.float64]
Angles = dict[str, float]

_SIDE_LIMITS_DEG: dict[str, tuple[float, float]] = {
    "shoulder_flex": (-50.0, 175.0),  # arm forwards and up
    "shoulder_abduct": (-25.0, 170.0),  # arm sideways and up
    "shoulder_rotate": (-85.0, 80.0),  # forearm towards the belly
    "elbow_flex": (0.0, 148.0),
    "wrist_flex": (-60.0, 70.0),
    "hip_flex": (-25.0, 122.0),  # thigh forwards
    "hip_abduct": (-20.0, 48.0),  # thigh sideways
    "hip_rotate": (-40.0, 45.0),  # toes outwards
    "knee_flex": (0.0, 142.0),
    "ankle_flex": (-22.0, 48.0),  # toes down
}

JOINT_LIMITS_DEG: dict[str, tuple[float, float]] = {
    "spine_flex": (-25.0, 75.0),
    "spine_bend": (-32.0, 32.0),
    "spine_twist": (-42.0, 42.0),
    "head_flex": (-50.0, 48.0),
    "head_bend": (-38.0, 38.0),
    "head_twist": (-72.0, 72.0),
    **{f"left_{name}": limits for name, limits in _SIDE_LIMITS_DEG.items()},
    **{f"right_{name}": limits for name, limits in _SIDE_LIMITS_DEG.items()},
}
"""Lowest and highest angle of every degree of freedom, degrees."""


@dataclass(frozen=True)
class Pose:
    """A posture.

    Attributes:
        family: which of `POSE_FAMILIES` it comes from.
        angles_deg: every degree of freedom of `JOINT_LIMITS_DEG`, inside its limits.
        lean_deg, tilt_deg: of the whole body, forwards and sideways.
        lift_m: height of the lowest point over the ground (jumps).
    """

    family: str
    angles_deg: Angles
    lean_deg: float = 0.0
    tilt_deg: float = 0.0
    lift_m: float = 0.0

    def bone_angles_deg(self) -> Array:
        """[15, 3] turns about z, x, y for `articulate`; mirrored movements get mirrored signs here."""
        get = self.angles_deg
        table = np.zeros((len(Bone), 3))
        table[Bone.CHEST] = get["spine_bend"], get["spine_flex"], get["spine_twist"]
        table[Bone.HEAD] = get["head_bend"], get["head_flex"], get["head_twist"]
        for side, sign, arm, leg in (
            ("left", 1.0, Bone.LEFT_UPPER_ARM, Bone.LEFT_THIGH),
            ("right", -1.0, Bone.RIGHT_UPPER_ARM, Bone.RIGHT_THIGH),
        ):
            table[arm] = (
                sign * get[f"{side}_shoulder_abduct"],
                -get[f"{side}_shoulder_flex"],
                -sign * get[f"{side}_shoulder_rotate"],
            )
            table[arm + 1, 1] = -get[f"{side}_elbow_flex"]
            table[arm + 2, 0] = -sign * get[f"{side}_wrist_flex"]
            table[leg] = (
                sign * get[f"{side}_hip_abduct"],
                -get[f"{side}_hip_flex"],
                sign * get[f"{side}_hip_rotate"],
            )
            table[leg + 1, 1] = get[f"{side}_knee_flex"]
            table[leg + 2, 1] = get[f"{side}_ankle_flex"]
        return table
