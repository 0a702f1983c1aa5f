"""Things with depth: what sitting persons sit on, and what stands in front of people."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posrefine.synthetic.bodies import Body
from posrefine.synthetic.faces import Light, thing_faces
from posrefine.synthetic.layout import Arrangement
from posrefine.synthetic.rasterizer import Faces
from posrefine.synthetic.wardrobe import SKIN_TONES_RGB, cloth_rgb

__all__ = ["scene_things"]

Array = NDArray[np.float64]
Rng = np.random.Generator

_BOX_QUADS = np.array([(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)])
_BOX_CORNERS = np.array([(x, y, z) for x in (-0.5, 0.5) for y in (0.0, 1.0) for z in (-0.5, 0.5)])
_GRID = 3  # every side of a box is cut into 3x3 quads: the painter sorts small quads rightly


def scene_things(arrangement: Arrangement, light: Light, rng: Rng) -> list[Faces]:
    """Seats under sitting persons and, in one scene of four, something in front of the group."""
    boxes = [
        box
        for body, ground in zip(arrangement.bodies, arrangement.ground_m, strict=True)
        if body.pose.family == "sitting"
        for box in _seat(body, ground, rng)
    ]
    if rng.random() < 0.25:
        boxes.append(_obstacle(arrangement, rng))
    return [thing_faces(arrangement.camera, light, *_coloured(box, rng)) for box in boxes]


def _coloured(box: Array, rng: Rng) -> tuple[Array, Array]:
    rgb = SKIN_TONES_RGB[rng.integers(len(SKIN_TONES_RGB))] if rng.random() < 0.3 else cloth_rgb(rng)
    return box, np.broadcast_to(rgb, (len(box), 3))


def _box(centre: Array, size: tuple[float, float, float], yaw_rad: float) -> Array:
    """[54, 4, 3] outward quads of a box whose bottom's middle is `centre`, world axes."""
    corners = _BOX_CORNERS * size
    cosine, sine = np.cos(yaw_rad), np.sin(yaw_rad)
    turned = np.stack(
        [
            cosine * corners[:, 0] + sine * corners[:, 2],
            corners[:, 1],
            cosine * corners[:, 2] - sine * corners[:, 0],
        ],
        1,
    )
    return _subdivide((turned + centre)[_BOX_QUADS])


def _subdivide(quads: Array) -> Array:
    steps = np.arange(_GRID) / _GRID
    u, v = (grid.reshape(-1) for grid in np.meshgrid(steps, steps))
    cells = np.stack(
        [np.stack([u + du / _GRID, v + dv / _GRID], 1) for du, dv in ((0, 0), (1, 0), (1, 1), (0, 1))], 1
    )
    a, b = cells[None, ..., :1], cells[None, ..., 1:]
    p, q, r, s = (quads[:, None, None, i] for i in range(4))
    return np.asarray(
        ((1 - a) * (1 - b) * p + a * (1 - b) * q + a * b * r + (1 - a) * b * s).reshape(-1, 4, 3)
    )


def _seat(body: Body, ground: Array, rng: Rng) -> list[Array]:
    yaw = np.deg2rad(body.yaw_deg)
    size = body.physique.stature_m / _ADULT_STATURE_M
    height = max(0.05, float(body.pelvis_m[1]) - 0.115 * size * body.physique.girth)
    backwards = -np.array([np.sin(yaw), 0.0, np.cos(yaw)])
    boxes = [_box(ground + 0.02 * backwards, (0.44 * size, height, 0.42 * size), yaw)]
    if rng.random() < 0.5:
        boxes.append(
            _box(ground + 0.26 * size * backwards, (0.44 * size, height + 0.45 * size, 0.06 * size), yaw)
        )
    return boxes


_ADULT_STATURE_M = 1.75


def _obstacle(arrangement: Arrangement, rng: Rng) -> Array:
    """A post, a table or a crate between the camera and one of the persons."""
    ground = arrangement.ground_m[rng.integers(len(arrangement.ground_m))]
    nearer = rng.uniform(0.5, 0.85)
    place = np.array([ground[0] * nearer + rng.normal(0.0, 0.25), 0.0, ground[2] * nearer])
    size = ((0.09, 2.6, 0.09), (1.1, 0.75, 0.5), (0.5, 0.5, 0.5))[rng.integers(3)]
    return _box(place, size, float(rng.uniform(0.0, np.pi)))
