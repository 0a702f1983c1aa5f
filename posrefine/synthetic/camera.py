"""A pinhole camera over a flat ground."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Camera"]

Array = NDArray[np.float64]

_NEAREST_M = 0.15
"""Points closer than this, or behind the camera, are projected as if they were here."""


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
