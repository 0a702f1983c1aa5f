"""From joint angles to where every bone is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posrefine.synthetic.anatomy import JOINT_BONES, JOINT_POSITIONS, PARENTS, REST_ORIGINS, Bone

__all__ = ["Skeleton3D", "articulate", "axis_rotations"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Skeleton3D:
    """Where the bones of one person are.

    Attributes:
        transforms: [15, 3, 4]; maps a point of the body frame at rest (metres, homogeneous) that belongs to
            the bone to the posed person: metres, x right, y up, z towards a viewer whom a person of yaw 0
            faces.
    """

    transforms: Array

    def joints_m(self) -> Array:
        """[19, 3] positions of `BODY_JOINTS`."""
        bones = self.transforms[JOINT_BONES]
        return np.asarray(np.einsum("jab,jb->ja", bones[:, :, :3], JOINT_POSITIONS) + bones[:, :, 3])


def articulate(angles_deg: Array, root_deg: Array, scales: Array) -> Skeleton3D:
    """Pose a body.

    Args:
        angles_deg: [15, 3], every bone's turn against its parent about z, x and y, applied in the order y, x,
            z.
        root_deg: [3], of the whole body: yaw about the vertical (0 faces the viewer), lean forwards, tilt
            towards its own right.
        scales: [15, 3], of `Physique`.
    """
    local = _local_rotations(angles_deg)
    rotations = np.empty((len(Bone), 3, 3))
    origins = np.empty((len(Bone), 3))
    root = _local_rotations(np.array([[root_deg[2], root_deg[1], 0.0], [0.0, 0.0, root_deg[0]]]))
    rotations[0] = root[1] @ root[0] @ local[0]
    origins[0] = 0.0
    for bone in range(1, len(Bone)):
        parent = PARENTS[bone]
        rotations[bone] = rotations[parent] @ local[bone]
        offset = (REST_ORIGINS[bone] - REST_ORIGINS[parent]) * scales[parent]
        origins[bone] = origins[parent] + rotations[parent] @ offset
    return Skeleton3D(transforms=_affine(rotations, origins, scales))


def _affine(rotations: Array, origins: Array, scales: Array) -> Array:
    linear = rotations * scales[:, None, :]
    shift = origins - np.einsum("bij,bj->bi", linear, REST_ORIGINS)
    return np.concatenate([linear, shift[:, :, None]], axis=2)


def _local_rotations(angles_deg: Array) -> Array:
    radians = np.deg2rad(angles_deg)
    about_z, about_x, about_y = (axis_rotations(radians[:, i], axis) for i, axis in enumerate((2, 0, 1)))
    return np.asarray(about_z @ about_x @ about_y)


def axis_rotations(radians: Array, axis: int) -> Array:
    """[N, 3, 3] right-handed rotations about x, y or z (axis 0, 1, 2)."""
    first, second = (axis + 1) % 3, (axis + 2) % 3
    cosine, sine = np.cos(radians), np.sin(radians)
    matrices = np.zeros((len(radians), 3, 3))
    matrices[:, axis, axis] = 1.0
    matrices[:, first, first] = cosine
    matrices[:, second, second] = cosine
    matrices[:, first, second] = -sine
    matrices[:, second, first] = sine
    return matrices
