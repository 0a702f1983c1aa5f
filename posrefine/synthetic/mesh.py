"""Surfaces made of quads: tubes lofted over rings, and patches, each quad with the region it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import IntEnum, auto

import numpy as np
from numpy.typing import NDArray

__all__ = ["Lofter", "Mesh", "Region", "halves", "patch"]

Array = NDArray[np.float64]
Ints = NDArray[np.intp]
Profile = Sequence[tuple[float, ...]]


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
class Mesh:
    """Quads of a surface at rest.

    Attributes:
        vertices: [V, 3] metres, body frame at rest.
        bones: [V, 2] the two bones a vertex follows.
        weights: [V] the share of the second.
        vertex_regions: [V] `Region` of each vertex, for the thickness of cloth.
        quads: [F, 4] vertex indices, turning so that the normal points outwards.
        regions: [F] `Region` of each quad.
        rings: [F] place of the quad along its tube, for stripes and checks.
        sides: [F] place of the quad around its tube.
    """

    vertices: Array
    bones: Ints
    weights: Array
    vertex_regions: Ints
    quads: Ints
    regions: Ints
    rings: Ints
    sides: Ints

    @staticmethod
    def join(parts: Sequence[Mesh]) -> Mesh:
        """All parts as one mesh."""
        columns = {
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Mesh)
        }
        starts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
        columns["quads"] = np.concatenate(
            [part.quads + start for part, start in zip(parts, starts, strict=True)]
        )
        return Mesh(**columns)

    def middles(self) -> Array:
        """[F, 3] the middle of every quad at rest."""
        return np.asarray(self.vertices[self.quads].mean(axis=1))

    def only(self, keep: NDArray[np.bool_]) -> Mesh:
        """The mesh without the quads where `keep` [F] is False."""
        columns = {name: getattr(self, name)[keep] for name in ("quads", "regions", "rings", "sides")}
        return Mesh(self.vertices, self.bones, self.weights, self.vertex_regions, **columns)


@dataclass(frozen=True)
class Lofter:
    """Makes tubes at a level of detail: 1 is the fine mesh, 0.5 has about a quarter of the quads."""

    detail: float

    def rings(self, profile: Profile, count: int) -> Array:
        """About `count` rings [n, 5] evenly along a profile; linear, so that no radius overshoots."""
        table = np.array(profile, np.float64)
        wanted = np.linspace(table[0, 0], table[-1, 0], max(4, round(count * self.detail)))
        direction = 1.0 if table[-1, 0] > table[0, 0] else -1.0
        columns = [np.interp(direction * wanted, direction * table[:, 0], table[:, i]) for i in range(1, 5)]
        return np.stack([wanted, *columns], axis=1)

    def tube(
        self,
        rings: Array,
        regions: Sequence[Region],
        *,
        sides: int,
        bones: tuple[int, int],
        weights: Array | None = None,
        axis: int = 1,
    ) -> Mesh:
        """A closed surface over rings.

        Args:
            rings: [n, 5]: place on the axis, half width, half depth, centre of the width, centre of the
                depth. Width is along x; depth along z for tubes along y, along y for tubes along z.
            regions: one for every gap between rings.
            sides: quads around, in the fine mesh.
            bones: that the vertices follow.
            weights: [n] share of the second bone; none without.
            axis: 1 for y, 2 for z.
        """
        sides = max(4, round(sides * self.detail))
        vertices = _ring_points(rings, sides, axis)
        quads, ring, side = _tube_quads(len(rings), sides)
        if _points_inwards(vertices, _ring_points(rings * (1, 0, 0, 1, 1), sides, axis), quads):
            quads = quads[:, ::-1]
        ring_regions = np.array([*regions, regions[-1]], np.intp)
        return Mesh(
            vertices=vertices,
            bones=np.tile(np.array(bones, np.intp), (len(vertices), 1)),
            weights=np.repeat(np.zeros(len(rings)) if weights is None else weights, sides),
            vertex_regions=np.repeat(ring_regions, sides),
            quads=quads,
            regions=ring_regions[ring],
            rings=ring,
            sides=side,
        )


def patch(corners: Array, region: Region, bone: int) -> Mesh:
    """One or more quads [N, 4, 3] on one bone, seen from the side from which they turn anticlockwise."""
    count = len(corners)
    return Mesh(
        vertices=corners.reshape(-1, 3),
        bones=np.full((4 * count, 2), bone, np.intp),
        weights=np.zeros(4 * count),
        vertex_regions=np.full(4 * count, region, np.intp),
        quads=np.arange(4 * count).reshape(count, 4),
        regions=np.full(count, region, np.intp),
        rings=np.zeros(count, np.intp),
        sides=np.zeros(count, np.intp),
    )


def halves(rings: Array, first: Region, second: Region, share: float = 0.5) -> list[Region]:
    """Regions of the gaps between rings: `first` over `share` of them, then `second`."""
    gaps = len(rings) - 1
    return [first if gap < share * gaps else second for gap in range(gaps)]


def _ring_points(rings: Array, sides: int, axis: int) -> Array:
    # The first vertex lies half a side off, so that one quad faces exactly forwards.
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
    corners = (
        ring * sides + side,
        ring * sides + after,
        (ring + 1) * sides + after,
        (ring + 1) * sides + side,
    )
    return np.stack(corners, axis=1), ring, after


def _points_inwards(vertices: Array, centres: Array, quads: Ints) -> bool:
    corners = vertices[quads]
    normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    outwards = corners.mean(axis=1) - centres[quads].mean(axis=1)
    return bool(np.einsum("fi,fi->f", normals, outwards).sum() < 0.0)
