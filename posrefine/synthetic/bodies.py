"""One posed and dressed person, before it is put anywhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posrefine.synthetic.anatomy import REST_ORIGINS, Physique
from posrefine.synthetic.body_mesh import body_mesh
from posrefine.synthetic.kinematics import articulate
from posrefine.synthetic.mesh import Mesh
from posrefine.synthetic.pose_families import sample_pose
from posrefine.synthetic.poses import Pose
from posrefine.synthetic.wardrobe import Outfit

__all__ = ["Body"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Body:
    """A person over the world's origin, the lowest point on the ground (or `Pose.lift_m` above it).

    Attributes:
        yaw_deg: turn about the vertical; 0 faces the camera, 90 the right border of the image.
        mesh: the surface at rest.
        vertices_m: [V, 3] the posed surface, world axes.
        joints_m: [19, 3] `BODY_JOINTS`, world axes.
        pelvis_m: [3] the point between the hips.
    """

    pose: Pose
    physique: Physique
    outfit: Outfit
    yaw_deg: float
    mesh: Mesh
    vertices_m: Array
    joints_m: Array
    pelvis_m: Array

    @staticmethod
    def sample(rng: np.random.Generator, *, fine: bool) -> Body:
        """A random person in a random pose; every second one more or less faces the camera.

        `fine` chooses the mesh; it changes nothing else.
        """
        pose, physique, outfit = sample_pose(rng), Physique.sample(rng), Outfit.sample(rng)
        yaw = float(rng.normal(0.0, 35.0)) if rng.random() < 0.5 else float(rng.uniform(-180.0, 180.0))
        mesh = body_mesh(fine=fine)
        root = np.array([yaw, pose.lean_deg, pose.tilt_deg])
        skeleton = articulate(pose.bone_angles_deg(), root, physique.scales)
        vertices = _skin(mesh, skeleton.transforms, outfit.thickness)
        shift = np.array([0.0, pose.lift_m - vertices[:, 1].min(), 0.0])
        return Body(pose, physique, outfit, yaw, mesh, vertices + shift, skeleton.joints_m() + shift, shift)


def _skin(mesh: Mesh, transforms: Array, thickness: Array) -> Array:
    """Linear blend skinning over two bones a vertex, after cloth pushed the vertices off their bone."""
    origins = REST_ORIGINS[mesh.bones[:, 0]]
    stretch = thickness[mesh.vertex_regions]
    rest = mesh.vertices - origins
    rest[:, 0] *= stretch
    rest[:, 2] *= stretch
    rest += origins
    first, second = transforms[mesh.bones[:, 0]], transforms[mesh.bones[:, 1]]
    blended = first + mesh.weights[:, None, None] * (second - first)
    return np.asarray(np.einsum("vij,vj->vi", blended[:, :, :3], rest) + blended[:, :, 3])
