"""Which joints can be seen, read off the buffer of what is in front."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from posrefine.synthetic.anatomy import BODY_JOINTS
from posrefine.synthetic.rasterizer import FaceBuffer

__all__ = ["visibility"]

Array = NDArray[np.float64]

_FLESH_M = {
    "nose": 0.035, "eye": 0.035, "ear": 0.035, "shoulder": 0.105, "elbow": 0.075, "wrist": 0.055,
    "hip": 0.165,
    "knee": 0.095, "ankle": 0.08, "head": 0.075, "neck": 0.10,
}  # fmt: skip
_FLESH_PER_JOINT_M = np.array([_FLESH_M[name.split("_")[-1]] for name in BODY_JOINTS])
_NEIGHBOURS = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), axis=-1).reshape(-1, 2)
_LEAST_PIXELS = 2  # of these nine; joints on the outline (ears, nose from the side) have about half


def visibility(buffer: FaceBuffer, joints_px: Array, depths_m: Array, girths: Array) -> NDArray[np.bool_]:
    """[P, 19] whether each joint of `BODY_JOINTS` is seen.

    A joint lies inside its limb: it is seen if, in two of the 3x3 pixels at it, the nearest surface is its
    own person's and no farther in front of it than the flesh around that joint is thick. A surface farther in
    front is another part of the body. Joints outside the image are not seen.

    Args:
        joints_px: [P, 19, 2] image px.
        depths_m: [P, 19] metres from the camera.
        girths: [P] thickness of each body, 1 for the average adult.
    """
    height, width = buffer.pixel_ids.shape
    places = np.floor(joints_px).astype(np.int64)[:, :, None] + _NEIGHBOURS
    inside = ((places >= 0) & (places < (width, height))).all(axis=-1)
    columns, rows = np.clip(places[..., 0], 0, width - 1), np.clip(places[..., 1], 0, height - 1)
    ids = buffer.pixel_ids[rows, columns]
    own = buffer.owners[ids] == np.arange(1, len(joints_px) + 1)[:, None, None]
    flesh = _FLESH_PER_JOINT_M * girths[:, None]
    near = depths_m[:, :, None] - buffer.depth_m[ids] < flesh[:, :, None]
    return np.asarray((own & near & inside).sum(axis=-1) >= _LEAST_PIXELS)
