"""A pinhole camera over a flat ground.

What the camera and all that paints call image px are measured from the image's corner: pixel i covers i to
i + 1, and its middle is i + 1/2. Keypoints count in indices of pixels, as annotation files, warps and
training do: there the middle of pixel i is i. Half a pixel is between them (`pixel_indices`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Camera", "pixel_indices"]

Array = NDArray[np.float64]

_NEAREST_M = 0.15
"""Points closer than this, or behind the camera, are projected as if they were here."""


def pixel_indices(points_px: Array) -> Array:
    """Points measured from the image's corner, in indices of pixels."""
    return points_px - 0.5


@dataclass(frozen=True)
class Camera:
    """World: metres, x right, y up with the ground at 0, z towards the camera, which stands over z = 0.

    Attributes:
        width_px, height_px: image size.
        focal_px: focal length.
        height_m: of the camera over the ground.
        pitch_rad: downward tilt of the optical axis.
        roll_rad: turn of the image about its centre.
    """

    width_px: int
    height_px: int
    focal_px: float
    height_m: float
    pitch_rad: float
    roll_rad: float

    def to_camera(self, points_m: Array) -> Array:
        """World points [..., 3] to camera axes: x right, y down, z depth; metres."""
        cosine, sine = np.cos(self.pitch_rad), np.sin(self.pitch_rad)
        down, ahead = self.height_m - points_m[..., 1], -points_m[..., 2]
        return np.stack(
            [points_m[..., 0], down * cosine - ahead * sine, ahead * cosine + down * sine], axis=-1
        )

    def project(self, camera_points_m: Array) -> Array:
        """Camera points [..., 3] to image px [..., 2]."""
        scale = self.focal_px / np.maximum(camera_points_m[..., 2], _NEAREST_M)
        x, y = camera_points_m[..., 0] * scale, camera_points_m[..., 1] * scale
        cosine, sine = np.cos(self.roll_rad), np.sin(self.roll_rad)
        centre_x, centre_y = 0.5 * self.width_px, 0.5 * self.height_px
        return np.stack([centre_x + cosine * x - sine * y, centre_y + sine * x + cosine * y], axis=-1)

    @property
    def horizon_px(self) -> tuple[float, float]:
        """Where the horizon crosses the left and the right border, y in image px."""
        far = -self.focal_px * np.tan(self.pitch_rad)
        half = 0.5 * self.width_px
        slope = np.tan(self.roll_rad)
        middle = 0.5 * self.height_px + far / np.cos(self.roll_rad)
        return float(middle - half * slope), float(middle + half * slope)
