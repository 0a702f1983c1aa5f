"""From an arranged scene to quads with light on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posrefine.synthetic.camera import Camera
from posrefine.synthetic.layout import Arrangement
from posrefine.synthetic.mesh import Region
from posrefine.synthetic.rasterizer import Faces

__all__ = ["Light", "person_faces", "thing_faces"]

Array = NDArray[np.float64]
Rng = np.random.Generator

_NEAREST_M = 0.2

_NUDGE_M = np.zeros(len(Region))
"""How much nearer than it is a region is painted, so that what lies on the skin is never hidden by it."""
_NUDGE_M[[Region.EYE, Region.NOSE, Region.LIPS, Region.PLACKET]] = 0.012
_NUDGE_M[[Region.IRIS, Region.BROW]] = 0.016
_NUDGE_M[[Region.SKIRT_TOP, Region.SKIRT_LOW]] = 0.03


@dataclass(frozen=True)
class Light:
    """One distant light.

    Attributes:
        towards: [3] unit vector to the light, camera axes.
        ambient: share of light that comes from everywhere.
    """

    towards: Array
    ambient: float

    @staticmethod
    def sample(rng: Rng) -> Light:
        """From above, more or less from the side, hard or soft."""
        direction = np.array([rng.normal(0.0, 0.7), -rng.uniform(0.3, 1.2), -rng.normal(0.5, 0.5)])
        return Light(direction / np.linalg.norm(direction), float(rng.uniform(0.45, 0.8)))

    def shade(self, normals: Array, views: Array) -> Array:
        """[F] brightness of surfaces with these unit normals, seen along these unit vectors."""
        # einsum, not @: BLAS may round differently from one number of threads to another.
        lit = np.maximum(np.einsum("fi,i->f", normals, self.towards), 0.0)
        facing = -np.einsum("fi,fi->f", normals, views)
        return np.asarray((self.ambient + (1.05 - self.ambient) * lit) * (0.78 + 0.22 * facing))


def person_faces(arrangement: Arrangement, light: Light, rng: Rng) -> list[Faces]:
    """The visible sides of everybody, one entry a person."""
    camera = arrangement.camera
    parts = []
    for owner, (body, ground) in enumerate(
        zip(arrangement.bodies, arrangement.ground_m, strict=True), start=1
    ):
        mesh = body.mesh
        worn = body.outfit.worn[mesh.regions]
        rgb = body.outfit.quad_rgb(mesh, rng)[worn]
        nudge = _NUDGE_M[mesh.regions[worn]] * body.physique.stature_m / 1.72
        points = camera.to_camera(body.vertices_m + ground)
        parts.append(_lit_faces(camera, light, points, mesh.quads[worn], rgb, nudge, owner))
    return parts


def thing_faces(camera: Camera, light: Light, corners_m: Array, rgb: Array) -> Faces:
    """Quads [F, 4, 3] of things in world coordinates, with colours [F, 3]."""
    points = camera.to_camera(corners_m.reshape(-1, 3))
    quads = np.arange(len(points)).reshape(-1, 4)
    return _lit_faces(camera, light, points, quads, rgb, np.zeros(len(quads)), 0)


def _lit_faces(
    camera: Camera,
    light: Light,
    points: Array,
    quads: NDArray[np.intp],
    rgb: Array,
    nudge_m: Array,
    owner: int,
) -> Faces:
    corners = points[quads]
    normals = _cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    middles = 0.25 * (corners[:, 0] + corners[:, 1] + corners[:, 2] + corners[:, 3])
    keep = np.flatnonzero(np.einsum("fi,fi->f", normals, middles) < 0.0)
    pixels, in_front = camera.project(points), points[:, 2] > _NEAREST_M
    if not in_front.all():
        keep = keep[in_front[quads[keep]].all(axis=1)]
    keep = keep[_touches_image(camera, pixels, quads[keep])]
    middles = middles[keep]
    shade = light.shade(_unit(normals[keep]), _unit(middles))
    owners = np.full(len(shade), owner, np.uint8)
    return Faces(pixels[quads[keep]], middles[:, 2] - nudge_m[keep], rgb[keep] * shade[:, None], owners)


def _touches_image(camera: Camera, pixels: Array, quads: NDArray[np.intp]) -> NDArray[np.bool_]:
    """[F] False where all corners of a quad lie beyond one and the same border."""
    x, y = pixels[:, 0], pixels[:, 1]
    sides = np.stack([x < 0.0, x >= camera.width_px, y < 0.0, y >= camera.height_px])
    corners = sides[:, quads.T]
    beyond = corners[:, 0] & corners[:, 1] & corners[:, 2] & corners[:, 3]
    return np.asarray(~beyond.any(axis=0))


def _unit(vectors: Array) -> Array:
    lengths = np.sqrt(np.einsum("fi,fi->f", vectors, vectors))
    return np.asarray(vectors / np.maximum(lengths, 1e-12)[:, None])


def _cross(first: Array, second: Array) -> Array:
    """np.cross for [F, 3] without its overhead."""
    ax, ay, az = first.T
    bx, by, bz = second.T
    return np.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], axis=1)
