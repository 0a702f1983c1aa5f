"""Where persons and camera stand, so that the scene is as large and as crowded as was asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posrefine.skeletons import CROWDPOSE
from posrefine.synthetic.anatomy import BODY_JOINTS
from posrefine.synthetic.bodies import Body
from posrefine.synthetic.camera import Camera
from posrefine.synthetic.crowding import crowd_index
from posrefine.synthetic.spec import SceneSpec

__all__ = ["Arrangement", "arrange", "clipped_boxes", "crowdedness", "in_frame"]

Array = NDArray[np.float64]
Rng = np.random.Generator

_ADULT_M = 1.72
_ROW_M = 0.42  # depth between two persons, so that their bodies do not pass through each other
_SHOULDER_SPACE = 0.4  # room one standing person takes sideways, in standing heights
_FINE_MESH_PX = 190  # standing height from which the coarse mesh shows its corners
_OUTLINE_STEP = 11  # every eleventh vertex is enough to tell a body's box while searching
_CROWDPOSE_JOINTS = [BODY_JOINTS.index(name) for name in CROWDPOSE.joints]


@dataclass(frozen=True)
class Arrangement:
    """Persons on the ground in front of a camera.

    Attributes:
        ground_m: [P, 3] world position under each person (y is 0).
    """

    camera: Camera
    bodies: tuple[Body, ...]
    ground_m: Array

    def project(self, points_m: Array) -> tuple[Array, Array]:
        """[P, N, 3] points of the bodies over the origin to image px [P, N, 2] and depth in metres [P, N]."""
        seen = self.camera.to_camera(points_m + self.ground_m[:, None])
        return self.camera.project(seen), seen[..., 2]


@dataclass(frozen=True)
class _Plan:
    """What stays fixed while the spacing is searched."""

    spec: SceneSpec
    bodies: tuple[Body, ...]
    focal_px: float
    pitch_rad: float
    roll_rad: float
    height_px: float
    relative_depths: Array
    rows_m: Array
    ranks: Array
    centre: tuple[float, float]

    def at(self, spacing: float) -> Arrangement:
        """Persons `spacing` shoulder spaces apart; all move back if they would not fit into the image."""
        width = self.spec.width_px
        extent_px = spacing * _SHOULDER_SPACE * self.height_px * np.ptp(self.ranks)
        shrink = max(1.0, extent_px / (0.85 * width))
        depths = self.focal_px * _ADULT_M / self.height_px * shrink * self.relative_depths + self.rows_m
        offsets_px = self.ranks * spacing * _SHOULDER_SPACE * self.height_px / shrink
        room_px = max(0.0, 0.8 * width - extent_px / shrink)
        columns_px = (self.centre[0] - 0.5) * room_px + offsets_px
        ground = np.stack([columns_px * depths / self.focal_px, np.zeros_like(depths), -depths], axis=1)
        return Arrangement(self._camera(float(depths.mean())), self.bodies, ground)

    def _camera(self, depth_m: float) -> Camera:
        """The camera height that brings the persons' middles to the wanted line of the image."""
        ray = (self.centre[1] - 0.5) * self.spec.height_px / self.focal_px
        tangent = np.tan(self.pitch_rad)
        drop = depth_m * (ray + tangent) / (1.0 - ray * tangent)
        height_m = float(np.clip(0.5 * _ADULT_M + drop, 0.25, 14.0))
        size = (self.spec.width_px, self.spec.height_px)
        return Camera(*size, self.focal_px, height_m, self.pitch_rad, self.roll_rad)


def arrange(rng: Rng, spec: SceneSpec) -> Arrangement:
    """A random arrangement with a crowd index in the asked range, or near it (the caller may try again)."""
    plan = _plan(rng, spec)
    low, high = spec.crowd_index
    target = float(rng.uniform(low, high))
    near, far = 0.05, 3.0
    if len(plan.bodies) == 1:
        return plan.at(1.0)
    points = np.stack(
        [np.concatenate([body.joints_m, body.vertices_m[::_OUTLINE_STEP]]) for body in plan.bodies]
    )
    best, best_error = plan.at(far), np.inf
    for _ in range(6):
        middle = 0.5 * (near + far)
        arrangement = plan.at(middle)
        index = _index_of(arrangement, points)
        if abs(index - target) < best_error:
            best, best_error = arrangement, abs(index - target)
        near, far = (middle, far) if index > target else (near, middle)
    return best


def _index_of(arrangement: Arrangement, points_m: Array) -> float:
    pixels, _ = arrangement.project(points_m)
    count = len(BODY_JOINTS)
    return crowdedness(
        arrangement.camera, pixels[:, :count], clipped_boxes(arrangement.camera, pixels[:, count:])
    )


def crowdedness(camera: Camera, joints_px: Array, boxes_xywh: Array) -> float:
    """Crowd index over CrowdPose's joints, those outside the image not being labelled.

    Args:
        joints_px: [P, 19, 2] `BODY_JOINTS`, image px.
        boxes_xywh: [P, 4] whole persons, image px.
    """
    joints = joints_px[:, _CROWDPOSE_JOINTS]
    labelled = in_frame(camera, joints)
    return crowd_index(np.concatenate([joints, labelled[..., None]], axis=2), boxes_xywh)


def in_frame(camera: Camera, points_px: Array) -> NDArray[np.bool_]:
    """[...] whether points [..., 2] lie inside the image."""
    size = (camera.width_px, camera.height_px)
    return np.asarray(((points_px >= 0.0) & (points_px < size)).all(axis=-1))


def clipped_boxes(camera: Camera, outlines_px: Array) -> Array:
    """[P, 4] boxes xywh around the points [P, N, 2], cut at the image border; image px."""
    size = np.array([camera.width_px, camera.height_px], np.float64)
    low = np.clip(outlines_px.min(axis=1), 0.0, size)
    high = np.clip(outlines_px.max(axis=1), 0.0, size)
    return np.concatenate([low, high - low], axis=1)


def _plan(rng: Rng, spec: SceneSpec) -> _Plan:
    count = int(rng.integers(spec.people[0], spec.people[1] + 1))
    low, high = spec.person_height
    height = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    spread = rng.uniform(0.02, 0.3)
    roll = rng.normal(0.0, 3.5) if rng.random() < 0.9 else rng.uniform(-30.0, 30.0)
    # Of a person larger than the image the upper half is shown more often than the legs.
    middle = rng.uniform(0.42, 0.62) if height < 0.9 else 0.45 + rng.uniform(0.0, 0.55) * height
    return _Plan(
        spec=spec,
        bodies=tuple(Body.sample(rng, fine=height * spec.height_px > _FINE_MESH_PX) for _ in range(count)),
        focal_px=float(rng.uniform(0.9, 2.4)) * max(spec.width_px, spec.height_px),
        pitch_rad=float(np.deg2rad(np.clip(rng.normal(7.0, 9.0), -12.0, 40.0))),
        roll_rad=float(np.deg2rad(roll)),
        height_px=height * spec.height_px,
        relative_depths=np.exp(rng.uniform(-spread, spread, count)),
        rows_m=_ROW_M * (rng.permutation(count) - 0.5 * (count - 1)) + rng.uniform(-0.05, 0.05, count),
        ranks=rng.permutation(count) - 0.5 * (count - 1) + rng.uniform(-0.3, 0.3, count),
        centre=(float(rng.uniform(0.0, 1.0)), float(middle)),
    )
