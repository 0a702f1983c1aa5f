"""A rendered scene with its ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from posrefine.skeletons import Skeleton
from posrefine.synthetic.anatomy import BODY_JOINTS

__all__ = ["Scene", "ScenePerson"]


@dataclass(frozen=True)
class ScenePerson:
    """Ground truth of one person; image px everywhere.

    Attributes:
        joints: [19, 3] float32, x, y and COCO's visibility of `BODY_JOINTS`: 2 visible, 1 hidden by something
            or by the person's own body, 0 (then x = y = 0) outside the image. In indices of pixels: whole
            numbers are the middles of pixels, and what lies in the image is from -1/2 to its size - 1/2.
        bbox: x, y, width, height around the visible pixels, as COCO's boxes are: from the first pixel's near
            edge to the last one's far edge, pixel i covering i to i + 1.
        full_bbox: the same around the whole body, hidden parts included, as CrowdPose's boxes are.
        area: visible pixels, COCO's segment area.
        family: the pose's family, of `POSE_FAMILIES`.
        yaw_deg: 0 faces the camera, +-180 turns the back to it.
    """

    joints: NDArray[np.float32]
    bbox: tuple[float, float, float, float]
    full_bbox: tuple[float, float, float, float]
    area: float
    family: str
    yaw_deg: float

    def keypoints(self, skeleton: Skeleton) -> NDArray[np.float32]:
        """[K, 3] float32: the joints of `skeleton`, x, y in image px and visibility."""
        return self.joints[_joint_indices(skeleton.joints)]


@lru_cache(maxsize=8)
def _joint_indices(names: tuple[str, ...]) -> list[int]:
    return [BODY_JOINTS.index(name) for name in names]


@dataclass(frozen=True)
class Scene:
    """One image and everybody in it.

    Attributes:
        seed: what it was rendered from.
        image: [H, W, 3] uint8 RGB.
        persons: in no particular order.
        instance_map: [H, W] uint8: n + 1 where persons[n] is in front, 0 elsewhere.
        crowd_index: CrowdPose's, over its 14 joints and the full boxes.
    """

    seed: int
    image: NDArray[np.uint8]
    persons: tuple[ScenePerson, ...]
    instance_map: NDArray[np.uint8]
    crowd_index: float
