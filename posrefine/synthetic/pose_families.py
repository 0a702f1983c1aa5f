"""Families of everyday postures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from posrefine.synthetic.poses import JOINT_LIMITS_DEG, Angles, Pose

__all__ = ["POSE_FAMILIES", "sample_pose"]

Rng = np.random.Generator


def _relaxed(rng: Rng) -> Angles:
    angles = dict.fromkeys(JOINT_LIMITS_DEG, 0.0)
    for side in ("left", "right"):
        angles[f"{side}_shoulder_abduct"] = rng.uniform(4, 14)
        angles[f"{side}_shoulder_rotate"] = rng.uniform(-5, 35)
        angles[f"{side}_elbow_flex"] = rng.uniform(5, 35)
        angles[f"{side}_hip_abduct"] = rng.uniform(0, 9)
        angles[f"{side}_hip_rotate"] = rng.uniform(0, 18)
        angles[f"{side}_knee_flex"] = rng.uniform(0, 8)
    return angles


def _free_arm(rng: Rng, side: str) -> Angles:
    """An arm that does anything an arm does: hangs, gestures, holds something, points, waves."""
    kind = rng.integers(5)
    ranges = (
        ((-15, 25), (4, 20), (-10, 40), (5, 40)),
        ((15, 60), (0, 25), (0, 60), (60, 125)),
        ((60, 110), (-10, 40), (-30, 40), (0, 50)),
        ((-10, 30), (60, 120), (-60, 20), (0, 90)),
        ((100, 170), (0, 40), (-40, 40), (0, 90)),
    )[kind]
    names = ("shoulder_flex", "shoulder_abduct", "shoulder_rotate", "elbow_flex")
    return {f"{side}_{name}": rng.uniform(*limits) for name, limits in zip(names, ranges, strict=True)}


def _standing(rng: Rng) -> Pose:
    angles = _relaxed(rng)
    for side in ("left", "right"):
        if rng.random() < 0.45:
            angles |= _free_arm(rng, side)
    if rng.random() < 0.4:  # weight on one leg
        side = "left" if rng.random() < 0.5 else "right"
        angles |= {f"{side}_hip_flex": rng.uniform(8, 25), f"{side}_knee_flex": rng.uniform(15, 40)}
    return Pose("standing", angles)


def _stride(rng: Rng, name: str, *, swing: tuple[float, float], elbow: tuple[float, float]) -> Pose:
    angles = _relaxed(rng)
    front, back = ("left", "right") if rng.random() < 0.5 else ("right", "left")
    reach = rng.uniform(*swing)
    angles |= {
        f"{front}_hip_flex": reach,
        f"{front}_knee_flex": rng.uniform(0.0, 1.4 * reach),
        f"{back}_hip_flex": -rng.uniform(0.3, 0.8) * min(reach, 32.0),
        f"{back}_knee_flex": rng.uniform(0.2, 1.8) * reach,
        f"{back}_ankle_flex": rng.uniform(0, 30),
        f"{back}_shoulder_flex": rng.uniform(0.4, 1.1) * reach,
        f"{front}_shoulder_flex": -rng.uniform(0.4, 0.9) * reach,
        f"{front}_elbow_flex": rng.uniform(*elbow),
        f"{back}_elbow_flex": rng.uniform(*elbow),
        "spine_twist": rng.uniform(0, 12) * (1.0 if back == "right" else -1.0),
    }
    return Pose(name, angles, lean_deg=rng.uniform(0.0, 0.3) * reach)


def _walking(rng: Rng) -> Pose:
    return _stride(rng, "walking", swing=(14, 34), elbow=(5, 45))


def _running(rng: Rng) -> Pose:
    pose = _stride(rng, "running", swing=(35, 72), elbow=(65, 115))
    return Pose(pose.family, pose.angles_deg, lean_deg=pose.lean_deg, lift_m=rng.uniform(0.0, 0.12))


def _sitting(rng: Rng) -> Pose:
    angles = _relaxed(rng)
    on_ground = rng.random() < 0.25
    for side in ("left", "right"):
        angles |= {
            f"{side}_hip_flex": rng.uniform(72, 98),
            f"{side}_hip_abduct": rng.uniform(0, 22),
            f"{side}_knee_flex": rng.uniform(5, 60) if on_ground else rng.uniform(65, 110),
            f"{side}_shoulder_flex": rng.uniform(10, 45),
            f"{side}_shoulder_rotate": rng.uniform(0, 45),
            f"{side}_elbow_flex": rng.uniform(20, 95),
        }
    angles["spine_flex"] = rng.uniform(-5, 30)
    return Pose("sitting_low" if on_ground else "sitting", angles, lean_deg=rng.uniform(-18, 8))


def _crouching(rng: Rng) -> Pose:
    angles = _relaxed(rng)
    for side in ("left", "right"):
        hip = rng.uniform(80, 120)
        angles |= {
            f"{side}_hip_flex": hip,
            f"{side}_hip_abduct": rng.uniform(5, 30),
            f"{side}_knee_flex": rng.uniform(100, 138),
            f"{side}_ankle_flex": rng.uniform(-22, 0),
            f"{side}_shoulder_flex": rng.uniform(20, 70),
            f"{side}_elbow_flex": rng.uniform(10, 90),
        }
    angles["spine_flex"] = rng.uniform(10, 40)
    return Pose("crouching", angles, lean_deg=rng.uniform(0, 25))


def _arms_raised(rng: Rng) -> Pose:
    angles = _relaxed(rng)
    sideways = rng.random() < 0.5
    for side in ("left", "right"):
        if sideways:
            angles |= {
                f"{side}_shoulder_abduct": rng.uniform(85, 168),
                f"{side}_shoulder_rotate": rng.uniform(-85, -20),
            }
        else:
            angles |= {
                f"{side}_shoulder_flex": rng.uniform(110, 172),
                f"{side}_shoulder_abduct": rng.uniform(0, 30),
            }
        angles[f"{side}_elbow_flex"] = rng.uniform(0, 100)
    return Pose("arms_raised", angles)


def _arms_folded(rng: Rng) -> Pose:
    """Arms crossed in front of the chest."""
    angles = _relaxed(rng)
    for side in ("left", "right"):
        angles |= {
            f"{side}_shoulder_flex": rng.uniform(32, 48),
            f"{side}_shoulder_abduct": rng.uniform(0, 10),
            f"{side}_shoulder_rotate": rng.uniform(55, 78),
            f"{side}_elbow_flex": rng.uniform(92, 112),
        }
    return Pose("arms_folded", angles)


def _akimbo(rng: Rng) -> Pose:
    angles = _relaxed(rng)
    for side in ("left", "right"):
        if rng.random() < 0.85:
            angles |= {
                f"{side}_shoulder_abduct": rng.uniform(38, 55),
                f"{side}_shoulder_flex": rng.uniform(-20, 5),
                f"{side}_shoulder_rotate": rng.uniform(55, 78),
                f"{side}_elbow_flex": rng.uniform(85, 115),
            }
    return Pose("akimbo", angles)


def _bending(rng: Rng) -> Pose:
    angles = _relaxed(rng)
    fold = rng.uniform(25, 75)
    for side in ("left", "right"):
        knee = rng.uniform(0, 45)
        angles |= {
            f"{side}_hip_flex": fold + 0.5 * knee,
            f"{side}_knee_flex": knee,
            f"{side}_shoulder_flex": rng.uniform(20, 110),
            f"{side}_elbow_flex": rng.uniform(0, 60),
        }
    angles["spine_flex"] = rng.uniform(10, 60)
    return Pose("bending", angles, lean_deg=fold)


def _lying(rng: Rng) -> Pose:
    angles = _relaxed(rng)
    for side in ("left", "right"):
        angles |= _free_arm(rng, side) if rng.random() < 0.7 else {}
        angles |= {f"{side}_hip_flex": rng.uniform(-5, 50), f"{side}_knee_flex": rng.uniform(0, 80)}
    if rng.random() < 0.6:
        return Pose("lying", angles, lean_deg=-90.0 if rng.random() < 0.7 else 85.0)
    return Pose("lying", angles, tilt_deg=85.0 if rng.random() < 0.5 else -85.0)


def _jumping(rng: Rng) -> Pose:
    angles = _relaxed(rng)
    for side in ("left", "right"):
        angles |= _free_arm(rng, side)
        angles |= {
            f"{side}_hip_flex": rng.uniform(-10, 80),
            f"{side}_hip_abduct": rng.uniform(0, 40),
            f"{side}_knee_flex": rng.uniform(10, 110),
            f"{side}_ankle_flex": rng.uniform(10, 45),
        }
    return Pose("jumping", angles, lean_deg=rng.uniform(-15, 15), lift_m=rng.uniform(0.1, 0.6))


POSE_FAMILIES: dict[str, tuple[float, Callable[[Rng], Pose]]] = {
    "standing": (0.26, _standing),
    "walking": (0.16, _walking),
    "running": (0.09, _running),
    "sitting": (0.14, _sitting),
    "crouching": (0.05, _crouching),
    "arms_raised": (0.08, _arms_raised),
    "arms_folded": (0.04, _arms_folded),
    "akimbo": (0.05, _akimbo),
    "bending": (0.05, _bending),
    "lying": (0.03, _lying),
    "jumping": (0.05, _jumping),
}
"""Share of every family in a random scene, and its sampler."""

_FAMILY_EDGES = np.cumsum([share for share, _ in POSE_FAMILIES.values()])

_WOBBLE_DEG = dict.fromkeys(JOINT_LIMITS_DEG, 4.0) | {
    "head_twist": 22.0, "head_flex": 10.0, "head_bend": 10.0,
    "spine_flex": 6.0, "spine_bend": 6.0, "spine_twist": 6.0,
    "left_wrist_flex": 18.0, "right_wrist_flex": 18.0,
}  # fmt: skip
"""Standard deviation by which every angle strays from its family's."""


def sample_pose(rng: Rng) -> Pose:
    """A random pose of a random family, every angle inside its limits."""
    index = int(np.searchsorted(_FAMILY_EDGES, rng.random() * _FAMILY_EDGES[-1], side="right"))
    pose = list(POSE_FAMILIES.values())[index][1](rng)
    wobble = dict(zip(_WOBBLE_DEG, rng.normal(0.0, list(_WOBBLE_DEG.values())).tolist(), strict=True))
    angles = {
        name: min(max(pose.angles_deg[name] + wobble[name], low), high)
        for name, (low, high) in JOINT_LIMITS_DEG.items()
    }
    tilt = pose.tilt_deg + float(rng.normal(0.0, 3.0))
    return Pose(pose.family, angles, pose.lean_deg + float(rng.normal(0.0, 3.0)), tilt, pose.lift_m)
