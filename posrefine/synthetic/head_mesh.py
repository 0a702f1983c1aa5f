"""The head's surface: skull, face, ears, hair and hats."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posrefine.synthetic.anatomy import Bone
from posrefine.synthetic.mesh import Lofter, Mesh, Region, patch

__all__ = ["hair_meshes", "head_meshes"]

Array = NDArray[np.float64]

_ON_HEAD = (Bone.HEAD, Bone.HEAD)

# Rings from the crown down: height, half width, half depth, centre x, centre z.
_SKULL = np.array(
    [
        (0.833, 0.004, 0.004, 0.0, -0.004), (0.828, 0.030, 0.038, 0.0, -0.004),
        (0.812, 0.052, 0.068, 0.0, -0.003),
        (0.785, 0.068, 0.088, 0.0, -0.001), (0.750, 0.0745, 0.097, 0.0, 0.0),
        (0.715, 0.0745, 0.097, 0.0, 0.0),
        (0.680, 0.071, 0.090, 0.0, 0.006), (0.650, 0.064, 0.078, 0.0, 0.014),
        (0.625, 0.054, 0.062, 0.0, 0.026),
        (0.605, 0.040, 0.042, 0.0, 0.042), (0.592, 0.018, 0.018, 0.0, 0.056),
    ]
)  # fmt: skip
_NECK = np.array(
    [
        (0.660, 0.050, 0.054, 0.0, -0.012), (0.620, 0.052, 0.055, 0.0, -0.010),
        (0.580, 0.055, 0.058, 0.0, -0.010),
        (0.530, 0.062, 0.062, 0.0, -0.010),
    ]
)  # fmt: skip
_EAR = np.array(
    [
        (0.735, 0.003, 0.008, 0.078, -0.012), (0.722, 0.009, 0.022, 0.080, -0.012),
        (0.690, 0.009, 0.020, 0.079, -0.008),
        (0.668, 0.003, 0.008, 0.075, -0.004),
    ]
)  # fmt: skip
_FALL = np.array(
    [
        (0.79, 0.070, 0.050, 0.0, -0.055), (0.70, 0.090, 0.055, 0.0, -0.060),
        (0.60, 0.092, 0.050, 0.0, -0.065),
        (0.52, 0.085, 0.035, 0.0, -0.075), (0.46, 0.050, 0.020, 0.0, -0.085),
    ]
)  # fmt: skip
_CROWN = np.array(
    [
        (0.868, 0.010, 0.010, 0.0, 0.0), (0.862, 0.055, 0.070, 0.0, 0.0), (0.820, 0.082, 0.103, 0.0, 0.0),
        (0.765, 0.088, 0.112, 0.0, 0.0),
    ]
)  # fmt: skip
_BRIM = np.array(
    [(0.776, 0.08, 0.10, 0.0, 0.01), (0.768, 0.10, 0.13, 0.0, 0.045), (0.762, 0.08, 0.10, 0.0, 0.01)]
)
_JAW_TOP_Y = 0.662


def head_meshes(lofter: Lofter) -> list[Mesh]:
    """Neck, skull and everything on the face."""
    regions = [Region.FACE if y > _JAW_TOP_Y else Region.JAW for y in 0.5 * (_SKULL[1:, 0] + _SKULL[:-1, 0])]
    neck_weights = np.array([1.0, 0.9, 0.4, 0.0])
    return [
        lofter.tube(_NECK, [Region.NECK] * 3, sides=12, bones=(Bone.CHEST, Bone.HEAD), weights=neck_weights),
        lofter.tube(_SKULL, regions, sides=18, bones=_ON_HEAD),
        *_ears(lofter),
        *_eyes(),
        *_nose_and_mouth(),
    ]


def _ears(lofter: Lofter) -> list[Mesh]:
    mirrored = _EAR * (1, 1, 1, -1, 1)
    return [lofter.tube(ear, [Region.EAR] * 3, sides=6, bones=_ON_HEAD) for ear in (_EAR, mirrored)]


def _eyes() -> list[Mesh]:
    meshes = []
    for sign in (1.0, -1.0):
        slope = 0.55 * sign
        meshes += [
            patch(_front(0.016, 0.0085, 0.032 * sign, 0.715, 0.092, slope), Region.EYE, Bone.HEAD),
            patch(_front(0.0075, 0.0085, 0.031 * sign, 0.715, 0.095, slope), Region.IRIS, Bone.HEAD),
            patch(_front(0.019, 0.0042, 0.033 * sign, 0.735, 0.095, slope), Region.BROW, Bone.HEAD),
        ]
    return meshes


def _front(x_half: float, y_half: float, x: float, y: float, z: float, slope: float = 0.0) -> Array:
    """A quad facing forwards; `slope` lets it follow the curve of the face sideways."""
    corners = [(-x_half, -y_half), (x_half, -y_half), (x_half, y_half), (-x_half, y_half)]
    return np.array([[(x + dx, y + dy, z - slope * dx) for dx, dy in corners]])


def _nose_and_mouth() -> list[Mesh]:
    bridge, tip, base = (0.0, 0.718, 0.098), (0.0, 0.680, 0.122), (0.0, 0.667, 0.098)
    left, right = (0.019, 0.668, 0.094), (-0.019, 0.668, 0.094)
    sides = [[bridge, tip, left, bridge], [bridge, bridge, right, tip], [tip, right, base, left]]
    return [
        patch(np.array(sides), Region.NOSE, Bone.HEAD),
        patch(_front(0.026, 0.0065, 0.0, 0.640, 0.096), Region.LIPS, Bone.HEAD),
    ]


def hair_meshes(lofter: Lofter) -> list[Mesh]:
    """Hair close to the head, hair that falls on the shoulders, a hat and its brim."""
    fall_weights = np.array([0.0, 0.0, 0.1, 0.4, 0.6])
    return [
        _short_hair(lofter),
        lofter.tube(
            _FALL, [Region.LONG_HAIR] * 4, sides=12, bones=(Bone.HEAD, Bone.CHEST), weights=fall_weights
        ),
        lofter.tube(_CROWN, [Region.HAT] * 3, sides=14, bones=_ON_HEAD),
        lofter.tube(_BRIM, [Region.BRIM] * 2, sides=14, bones=_ON_HEAD),
    ]


def _short_hair(lofter: Lofter) -> Mesh:
    """A shell over the skull without the quads over the face: what is left ends at the hairline."""
    rings = _SKULL[:8] * (1.0, 1.10, 1.09, 1.0, 1.0)
    rings[:, 0] += 0.012 * np.clip((rings[:, 0] - 0.7) / 0.13, 0.0, 1.0)
    shell = lofter.tube(rings, [Region.HAIR] * 7, sides=18, bones=_ON_HEAD)
    middles = shell.middles()
    hairline = np.where(middles[:, 2] > 0.045, 0.765, np.where(middles[:, 2] > -0.005, 0.72, 0.0))
    return shell.only(middles[:, 1] > hairline)
