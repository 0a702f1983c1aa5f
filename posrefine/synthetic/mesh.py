"""The body's surface at rest: lofted tubes of quads, each quad with the region of clothing it belongs to.

One template serves everybody: physique, pose, and what is worn change where its vertices go and which quads are
drawn, never the topology.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, auto
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from posrefine.synthetic.anatomy import REST_ORIGINS, Bone

__all__ = ["BodyMesh", "Region", "body_mesh"]

Array = NDArray[np.float64]
Ints = NDArray[np.intp]


class Region(IntEnum):
    """What an outfit gives a colour to, or leaves out."""

    FACE = 0
    JAW = auto()
    NECK = auto()
    EAR = auto()
    NOSE = auto()
    EYE = auto()
    IRIS = auto()
    BROW = auto()
    LIPS = auto()
    HAIR = auto()
    LONG_HAIR = auto()
    HAT = auto()
    BRIM = auto()
    NECKLINE = auto()
    TORSO = auto()
    PLACKET = auto()
    BELT = auto()
    PELVIS = auto()
    SLEEVE_TOP = auto()
    SLEEVE_LOW = auto()
    FOREARM_TOP = auto()
    FOREARM_LOW = auto()
    HAND = auto()
    THIGH_TOP = auto()
    THIGH_LOW = auto()
    SHANK_TOP = auto()
    SHANK_LOW = auto()
    FOOT = auto()
    SOLE = auto()
    SKIRT_TOP = auto()
    SKIRT_LOW = auto()
    BACKPACK = auto()


@dataclass(frozen=True)
class BodyMesh:
    """Quads of the body at rest.

    Attributes:
        vertices: [V, 3] metres, body frame at rest.
        bones, weights: [V, 2] the two bones a vertex follows, and [V] the share of the second.
        vertex_regions: [V] `Region` of each vertex, for the thickness of cloth.
        quads: [F, 4] vertex indices, turning so that the normal points outwards.
        regions: [F] `Region` of each quad.
        rings, sides: [F] place of the quad along and around its tube, for stripes and checks.
    """

    vertices: Array
    bones: Ints
    weights: Array
    vertex_regions: Ints
    quads: Ints
    regions: Ints
    rings: Ints
    sides: Ints


@lru_cache(maxsize=1)
def body_mesh() -> BodyMesh:
    """The template, about 1,700 quads."""
    builder = _Builder()
    _add_torso(builder)
    _add_head(builder)
    _add_hair(builder)
    for sign, arm, leg in ((1.0, Bone.LEFT_UPPER_ARM, Bone.LEFT_THIGH), (-1.0, Bone.RIGHT_UPPER_ARM, Bone.RIGHT_THIGH)):
        _add_arm(builder, sign, arm)
        _add_leg(builder, sign, leg)
    _add_skirt(builder)
    _add_backpack(builder)
    return builder.build()


class _Builder:
    """Collects tubes and patches, then concatenates them."""

    def __init__(self) -> None:
        self.vertices: list[Array] = []
        self.bones: list[Ints] = []
        self.weights: list[Array] = []
        self.vertex_regions: list[Ints] = []
        self.quads: list[Ints] = []
        self.regions: list[Ints] = []
        self.rings: list[Ints] = []
        self.sides: list[Ints] = []
        self.count = 0

    def tube(
        self,
        rings: Array,
        regions: list[Region],
        *,
        sides: int,
        axis: int,
        bones: tuple[int, int],
        weights: Array | None = None,
    ) -> None:
        """Rings of [position on the axis, half width, half depth, centre of width, centre of depth].

        Width is along x; depth along z for tubes along y and along y for tubes along z. `regions` has one entry
        for every gap between rings.
        """
        vertices = _ring_points(rings, sides, axis)
        quads, ring, side = _tube_quads(len(rings), sides)
        centres = np.repeat(_ring_points(rings * (1, 0, 0, 1, 1), sides, axis), 1, axis=0)
        if _points_inwards(vertices, centres, quads):
            quads = quads[:, ::-1]
        ring_regions = np.array([*regions, regions[-1]], np.intp)
        ring_weights = np.zeros(len(rings)) if weights is None else weights
        self._add(vertices, quads, np.repeat(ring_weights, sides), bones, np.repeat(ring_regions, sides))
        self.regions.append(ring_regions[ring])
        self.rings.append(ring)
        self.sides.append(side)

    def patch(self, corners: Array, region: Region, bone: int) -> None:
        """One or more quads [N, 4, 3] on one bone, outward normals already right."""
        count = len(corners)
        quads = np.arange(4 * count).reshape(count, 4)
        regions = np.full(4 * count, region, np.intp)
        self._add(corners.reshape(-1, 3), quads, np.zeros(4 * count), (bone, bone), regions)
        self.regions.append(regions[::4])
        self.rings.append(np.zeros(count, np.intp))
        self.sides.append(np.zeros(count, np.intp))

    def _add(self, vertices: Array, quads: Ints, weights: Array, bones: tuple[int, int], regions: Ints) -> None:
        self.vertices.append(vertices)
        self.bones.append(np.broadcast_to(np.array(bones, np.intp), (len(vertices), 2)))
        self.weights.append(weights)
        self.vertex_regions.append(regions)
        self.quads.append(quads + self.count)
        self.count += len(vertices)

    def build(self) -> BodyMesh:
        return BodyMesh(
            vertices=np.concatenate(self.vertices),
            bones=np.concatenate(self.bones),
            weights=np.concatenate(self.weights),
            vertex_regions=np.concatenate(self.vertex_regions),
            quads=np.concatenate(self.quads),
            regions=np.concatenate(self.regions),
            rings=np.concatenate(self.rings),
            sides=np.concatenate(self.sides),
        )


def _ring_points(rings: Array, sides: int, axis: int) -> Array:
    # The first vertex lies half a side off, so that one quad faces exactly forwards (face, placket).
    angles = 2.0 * np.pi * (np.arange(sides) + 0.5) / sides
    position, half_width, half_depth, width_centre, depth_centre = (column[:, None] for column in rings.T)
    across = width_centre + half_width * np.sin(angles)
    deep = depth_centre + half_depth * np.cos(angles)
    along = np.broadcast_to(position, across.shape)
    order = (across, along, deep) if axis == 1 else (across, deep, along)
    return np.stack(order, axis=-1).reshape(-1, 3)


def _tube_quads(ring_count: int, sides: int) -> tuple[Ints, Ints, Ints]:
    ring, side = np.divmod(np.arange((ring_count - 1) * sides), sides)
    after = (side + 1) % sides
    quads = np.stack([ring * sides + side, ring * sides + after, (ring + 1) * sides + after, (ring + 1) * sides + side], 1)
    return quads, ring, after


def _points_inwards(vertices: Array, centres: Array, quads: Ints) -> bool:
    corners = vertices[quads]
    normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    outwards = corners.mean(axis=1) - centres[quads].mean(axis=1)
    return bool(np.einsum("fi,fi->f", normals, outwards).sum() < 0.0)


def _resample(profile: list[tuple[float, ...]], count: int) -> Array:
    """`count` rings evenly along the profile; linear, so that no radius overshoots."""
    table = np.array(profile)
    wanted = np.linspace(table[0, 0], table[-1, 0], count)
    direction = 1.0 if table[-1, 0] > table[0, 0] else -1.0
    columns = [np.interp(direction * wanted, direction * table[:, 0], table[:, i]) for i in range(1, 5)]
    return np.stack([wanted, *columns], axis=1)


_TORSO: list[tuple[float, ...]] = [
    (0.575, 0.052, 0.052, 0.0, -0.005), (0.55, 0.075, 0.062, 0.0, -0.008), (0.53, 0.115, 0.075, 0.0, -0.010),
    (0.50, 0.162, 0.092, 0.0, -0.006), (0.46, 0.178, 0.106, 0.0, 0.0), (0.40, 0.176, 0.118, 0.0, 0.006),
    (0.33, 0.166, 0.119, 0.0, 0.008), (0.26, 0.152, 0.110, 0.0, 0.006), (0.19, 0.143, 0.102, 0.0, 0.004),
    (0.12, 0.148, 0.105, 0.0, 0.002), (0.05, 0.164, 0.113, 0.0, -0.004), (0.0, 0.170, 0.118, 0.0, -0.010),
    (-0.05, 0.164, 0.115, 0.0, -0.012), (-0.09, 0.135, 0.090, 0.0, -0.008), (-0.105, 0.05, 0.04, 0.0, -0.004),
]  # fmt: skip
_WAIST_Y = 0.085


def _add_torso(builder: _Builder) -> None:
    rings = _resample(_TORSO, 24)
    regions = [_torso_region(y) for y in 0.5 * (rings[1:, 0] + rings[:-1, 0])]
    weights = np.clip((rings[:, 0] - 0.02) / 0.22, 0.0, 1.0)
    builder.tube(rings, regions, sides=18, axis=1, bones=(Bone.PELVIS, Bone.CHEST), weights=weights)
    for low, high in ((0.13, 0.50),):
        heights = np.linspace(high, low, 8)
        depth = np.interp(heights, [row[0] for row in _TORSO[::-1]], [row[2] + row[4] for row in _TORSO[::-1]]) + 0.012
        builder.patch(_strip(heights, depth, 0.016), Region.PLACKET, Bone.CHEST)


def _torso_region(y: float) -> Region:
    if y > 0.535:
        return Region.NECKLINE
    if y > _WAIST_Y:
        return Region.TORSO
    return Region.BELT if y > _WAIST_Y - 0.035 else Region.PELVIS


def _strip(heights: Array, depths: Array, half_width: float) -> Array:
    """A ribbon of quads down the front, facing +z."""
    top, low = np.stack([heights[:-1], depths[:-1]], 1), np.stack([heights[1:], depths[1:]], 1)
    corner = [(-half_width, low), (half_width, low), (half_width, top), (-half_width, top)]
    return np.stack([np.column_stack([np.full(len(yz), x), yz]) for x, yz in corner], axis=1)


_HEAD: list[tuple[float, ...]] = [
    (0.833, 0.004, 0.004, 0.0, -0.004), (0.828, 0.030, 0.038, 0.0, -0.004), (0.812, 0.052, 0.068, 0.0, -0.003),
    (0.785, 0.068, 0.088, 0.0, -0.001), (0.750, 0.0745, 0.097, 0.0, 0.0), (0.715, 0.0745, 0.097, 0.0, 0.0),
    (0.680, 0.071, 0.090, 0.0, 0.006), (0.650, 0.064, 0.078, 0.0, 0.014), (0.625, 0.054, 0.062, 0.0, 0.026),
    (0.605, 0.040, 0.042, 0.0, 0.042), (0.592, 0.018, 0.018, 0.0, 0.056),
]  # fmt: skip


def _add_head(builder: _Builder) -> None:
    neck = np.array([(0.66, 0.050, 0.054, 0.0, -0.012), (0.62, 0.052, 0.055, 0.0, -0.010),
                     (0.58, 0.055, 0.058, 0.0, -0.010), (0.53, 0.062, 0.062, 0.0, -0.010)])  # fmt: skip
    builder.tube(neck, [Region.NECK] * 3, sides=12, axis=1, bones=(Bone.CHEST, Bone.HEAD), weights=np.array([1.0, 0.9, 0.4, 0.0]))
    rings = np.array(_HEAD)
    regions = [Region.FACE if y > 0.662 else Region.JAW for y in 0.5 * (rings[1:, 0] + rings[:-1, 0])]
    builder.tube(rings, regions, sides=18, axis=1, bones=(Bone.HEAD, Bone.HEAD))
    for sign in (1.0, -1.0):
        ear = np.array([(0.735, 0.003, 0.008, 0.078 * sign, -0.012), (0.722, 0.009, 0.022, 0.080 * sign, -0.012),
                        (0.690, 0.009, 0.020, 0.079 * sign, -0.008), (0.668, 0.003, 0.008, 0.075 * sign, -0.004)])  # fmt: skip
        builder.tube(ear, [Region.EAR] * 3, sides=6, axis=1, bones=(Bone.HEAD, Bone.HEAD))
        _add_eye(builder, sign)
    _add_nose_and_mouth(builder)


def _front(x_half: float, y_half: float, x: float, y: float, z: float, slope: float = 0.0) -> Array:
    """A quad facing forwards; `slope` lets it follow the curve of the face sideways."""
    corners = [(-x_half, -y_half), (x_half, -y_half), (x_half, y_half), (-x_half, y_half)]
    return np.array([[(x + dx, y + dy, z - slope * dx) for dx, dy in corners]])


def _add_eye(builder: _Builder, sign: float) -> None:
    slope = 0.55 * sign
    builder.patch(_front(0.016, 0.0085, 0.032 * sign, 0.715, 0.092, slope), Region.EYE, Bone.HEAD)
    builder.patch(_front(0.0075, 0.0085, 0.031 * sign, 0.715, 0.095, slope), Region.IRIS, Bone.HEAD)
    builder.patch(_front(0.019, 0.0042, 0.033 * sign, 0.735, 0.095, slope), Region.BROW, Bone.HEAD)


def _add_nose_and_mouth(builder: _Builder) -> None:
    bridge, tip, base = (0.0, 0.718, 0.098), (0.0, 0.680, 0.122), (0.0, 0.667, 0.098)
    left, right = (0.019, 0.668, 0.094), (-0.019, 0.668, 0.094)
    quads = np.array([[bridge, tip, left, bridge], [bridge, bridge, right, tip], [tip, right, base, left]])
    builder.patch(quads, Region.NOSE, Bone.HEAD)
    builder.patch(_front(0.026, 0.0065, 0.0, 0.640, 0.096), Region.LIPS, Bone.HEAD)


def _add_hair(builder: _Builder) -> None:
    """A shell over the skull; quads over the face are dropped, the hairline is what is left."""
    rings = np.array(_HEAD[:8]) * (1.0, 1.10, 1.09, 1.0, 1.0)
    rings[:, 0] += 0.012 * np.clip((rings[:, 0] - 0.7) / 0.13, 0.0, 1.0)
    rings[-1, 0] = 0.64
    builder.tube(rings, [Region.HAIR] * 7, sides=18, axis=1, bones=(Bone.HEAD, Bone.HEAD))
    _drop_face_quads(builder)
    fall = np.array([(0.79, 0.070, 0.050, 0.0, -0.055), (0.70, 0.090, 0.055, 0.0, -0.060), (0.60, 0.092, 0.050, 0.0, -0.065),
                     (0.52, 0.085, 0.035, 0.0, -0.075), (0.46, 0.050, 0.020, 0.0, -0.085)])  # fmt: skip
    builder.tube(fall, [Region.LONG_HAIR] * 4, sides=12, axis=1, bones=(Bone.HEAD, Bone.CHEST), weights=np.array([0, 0, 0.1, 0.4, 0.6]))
    crown = np.array([(0.865, 0.01, 0.01, 0.0, 0.0), (0.860, 0.055, 0.07, 0.0, 0.0), (0.82, 0.080, 0.100, 0.0, 0.0),
                      (0.765, 0.086, 0.110, 0.0, 0.0)])  # fmt: skip
    builder.tube(crown, [Region.HAT] * 3, sides=14, axis=1, bones=(Bone.HEAD, Bone.HEAD))
    brim = np.array([(0.775, 0.075, 0.095, 0.0, 0.015), (0.768, 0.100, 0.125, 0.0, 0.045), (0.762, 0.072, 0.095, 0.0, 0.015)])
    builder.tube(brim, [Region.BRIM] * 2, sides=14, axis=1, bones=(Bone.HEAD, Bone.HEAD))


def _drop_face_quads(builder: _Builder) -> None:
    vertices, quads = builder.vertices[-1], builder.quads[-1]
    centres = vertices[quads - (builder.count - len(vertices))].mean(axis=1)
    hairline = np.where(centres[:, 2] > 0.045, 0.765, np.where(centres[:, 2] > -0.005, 0.72, 0.0))
    keep = centres[:, 1] > hairline
    for column in (builder.quads, builder.regions, builder.rings, builder.sides):
        column[-1] = column[-1][keep]


_UPPER_ARM: list[tuple[float, ...]] = [
    (0.058, 0.012, 0.012, 0, 0), (0.048, 0.034, 0.036, 0, 0), (0.02, 0.052, 0.054, 0, 0), (-0.03, 0.055, 0.058, 0, 0),
    (-0.10, 0.048, 0.051, 0, 0), (-0.18, 0.043, 0.046, 0, 0), (-0.26, 0.039, 0.040, 0, 0), (-0.295, 0.036, 0.037, 0, 0),
    (-0.318, 0.022, 0.022, 0, 0),
]  # fmt: skip
_FOREARM: list[tuple[float, ...]] = [
    (0.032, 0.018, 0.018, 0, 0), (0.015, 0.035, 0.036, 0, 0), (-0.02, 0.041, 0.041, 0, 0), (-0.07, 0.041, 0.042, 0, 0),
    (-0.14, 0.035, 0.036, 0, 0), (-0.21, 0.027, 0.029, 0, 0), (-0.255, 0.024, 0.028, 0, 0), (-0.27, 0.02, 0.024, 0, 0),
]  # fmt: skip
_HAND: list[tuple[float, ...]] = [
    (0.012, 0.018, 0.022, 0, 0), (-0.01, 0.021, 0.030, 0, 0), (-0.05, 0.019, 0.042, 0, 0), (-0.10, 0.017, 0.044, 0, 0),
    (-0.15, 0.014, 0.036, 0, 0), (-0.185, 0.008, 0.018, 0, 0), (-0.19, 0.002, 0.004, 0, 0),
]  # fmt: skip
_THIGH: list[tuple[float, ...]] = [
    (0.075, 0.03, 0.03, 0, 0), (0.055, 0.062, 0.066, 0, 0), (0.02, 0.083, 0.092, 0, 0), (-0.05, 0.089, 0.098, 0, 0),
    (-0.15, 0.083, 0.091, 0, 0), (-0.26, 0.070, 0.077, 0, 0), (-0.36, 0.060, 0.065, 0, 0), (-0.43, 0.055, 0.060, 0, 0),
    (-0.465, 0.046, 0.048, 0, 0), (-0.48, 0.02, 0.02, 0, 0),
]  # fmt: skip
_SHANK: list[tuple[float, ...]] = [
    (0.045, 0.02, 0.02, 0, 0), (0.03, 0.044, 0.046, 0, 0), (0.0, 0.053, 0.056, 0, 0), (-0.06, 0.056, 0.060, 0, -0.006),
    (-0.13, 0.058, 0.062, 0, -0.012), (-0.21, 0.050, 0.052, 0, -0.008), (-0.30, 0.039, 0.041, 0, -0.003),
    (-0.38, 0.034, 0.037, 0, 0), (-0.43, 0.036, 0.040, 0, 0), (-0.45, 0.03, 0.032, 0, 0),
]  # fmt: skip
_FOOT: list[tuple[float, ...]] = [
    (-0.072, 0.010, 0.010, 0, -0.045), (-0.064, 0.030, 0.030, 0, -0.040), (-0.03, 0.039, 0.046, 0, -0.024),
    (0.02, 0.043, 0.044, 0, -0.026), (0.06, 0.046, 0.033, 0, -0.037), (0.11, 0.049, 0.025, 0, -0.045),
    (0.155, 0.043, 0.019, 0, -0.051), (0.18, 0.025, 0.014, 0, -0.055), (0.186, 0.006, 0.006, 0, -0.056),
]  # fmt: skip


def _limb(profile: list[tuple[float, ...]], count: int, bone: int, axis: int = 1) -> Array:
    """The profile's rings, moved to where the bone is at rest."""
    rings = _resample(profile, count)
    x, y, z = REST_ORIGINS[bone]
    along, deep = (y, z) if axis == 1 else (z, y)
    return rings + np.array([along, 0.0, 0.0, x, deep])


def _halves(count: int, first: Region, second: Region, share: float = 0.5) -> list[Region]:
    gaps = count - 1
    return [first if gap < share * gaps else second for gap in range(gaps)]


def _add_arm(builder: _Builder, sign: float, bone: int) -> None:
    upper, fore, hand = bone, bone + 1, bone + 2
    builder.tube(_limb(_UPPER_ARM, 14, upper), _halves(14, Region.SLEEVE_TOP, Region.SLEEVE_LOW, 0.6),
                 sides=12, axis=1, bones=(upper, upper))  # fmt: skip
    builder.tube(_limb(_FOREARM, 12, fore), _halves(12, Region.FOREARM_TOP, Region.FOREARM_LOW),
                 sides=12, axis=1, bones=(fore, fore))  # fmt: skip
    builder.tube(_limb(_HAND, 7, hand), [Region.HAND] * 6, sides=8, axis=1, bones=(hand, hand))
    x, y, _ = REST_ORIGINS[hand]
    thumb = np.array([(y - 0.015, 0.010, 0.010, x, 0.025), (y - 0.05, 0.011, 0.011, x - 0.006 * sign, 0.048),
                      (y - 0.085, 0.010, 0.009, x - 0.010 * sign, 0.060), (y - 0.105, 0.003, 0.003, x - 0.010 * sign, 0.062)])  # fmt: skip
    builder.tube(thumb, [Region.HAND] * 3, sides=5, axis=1, bones=(hand, hand))


def _add_leg(builder: _Builder, sign: float, bone: int) -> None:
    thigh, shank, foot = bone, bone + 1, bone + 2
    builder.tube(_limb(_THIGH, 16, thigh), _halves(16, Region.THIGH_TOP, Region.THIGH_LOW, 0.6),
                 sides=14, axis=1, bones=(thigh, thigh))  # fmt: skip
    builder.tube(_limb(_SHANK, 14, shank), _halves(14, Region.SHANK_TOP, Region.SHANK_LOW),
                 sides=12, axis=1, bones=(shank, shank))  # fmt: skip
    builder.tube(_limb(_FOOT, 10, foot, axis=2), [Region.FOOT] * 9, sides=10, axis=2, bones=(foot, foot))
    x, y, z = REST_ORIGINS[foot]
    sole = np.array([(z - 0.07, 0.02, 0.005, x, y - 0.066), (z - 0.05, 0.040, 0.010, x, y - 0.066),
                     (z + 0.12, 0.052, 0.010, x, y - 0.066), (z + 0.185, 0.02, 0.006, x, y - 0.066)])  # fmt: skip
    builder.tube(sole, [Region.SOLE] * 3, sides=8, axis=2, bones=(foot, foot))


def _add_skirt(builder: _Builder) -> None:
    """Follows the pelvis at the waist and, further down, the thigh of each side."""
    rings = _resample(
        [(0.09, 0.165, 0.120, 0, 0), (0.0, 0.195, 0.145, 0, -0.008), (-0.2, 0.220, 0.170, 0, 0), (-0.46, 0.255, 0.205, 0, 0)], 15
    )
    builder.tube(rings, _halves(15, Region.SKIRT_TOP, Region.SKIRT_LOW, 0.55), sides=20, axis=1,
                 bones=(Bone.PELVIS, Bone.PELVIS))  # fmt: skip
    vertices = builder.vertices[-1]
    thigh = np.where(vertices[:, 0] > 0.0, Bone.LEFT_THIGH, Bone.RIGHT_THIGH)
    builder.bones[-1] = np.stack([np.full(len(vertices), Bone.PELVIS), thigh], axis=1)
    builder.weights[-1] = np.clip((0.06 - vertices[:, 1]) / 0.22, 0.0, 1.0)


def _add_backpack(builder: _Builder) -> None:
    rings = np.array([(0.50, 0.03, 0.02, 0.0, -0.14), (0.48, 0.115, 0.055, 0.0, -0.155), (0.36, 0.130, 0.080, 0.0, -0.175),
                      (0.22, 0.130, 0.085, 0.0, -0.175), (0.16, 0.115, 0.070, 0.0, -0.16), (0.14, 0.03, 0.02, 0.0, -0.15)])  # fmt: skip
    builder.tube(rings, [Region.BACKPACK] * 5, sides=10, axis=1, bones=(Bone.CHEST, Bone.CHEST))
