"""Shadows on the ground: under the feet, and cast by the whole body."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from posrefine.synthetic.anatomy import BODY_JOINTS
from posrefine.synthetic.layout import Arrangement

__all__ = ["cast_shadows"]

Array = NDArray[np.float64]
Rng = np.random.Generator

_SHRINK = 4  # shadows are soft: a quarter of the resolution is enough

_LIMB_RADII_M: tuple[tuple[str, str, float], ...] = (
    ("head", "neck", 0.08), ("neck", "left_hip", 0.13), ("neck", "right_hip", 0.13),
    ("left_shoulder", "left_elbow", 0.05), ("left_elbow", "left_wrist", 0.04),
    ("right_shoulder", "right_elbow", 0.05), ("right_elbow", "right_wrist", 0.04),
    ("left_hip", "left_knee", 0.08), ("left_knee", "left_ankle", 0.055),
    ("right_hip", "right_knee", 0.08), ("right_knee", "right_ankle", 0.055),
)  # fmt: skip
_LIMBS = [(BODY_JOINTS.index(a), BODY_JOINTS.index(b), radius) for a, b, radius in _LIMB_RADII_M]


def cast_shadows(background: NDArray[np.uint8], arrangement: Arrangement, rng: Rng) -> NDArray[np.uint8]:
    """[H, W, 3] the background, darker where the persons keep the light from the ground."""
    camera = arrangement.camera
    width, height = camera.width_px // _SHRINK + 1, camera.height_px // _SHRINK + 1
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    slope = np.array([rng.normal(0.0, 0.5), 0.0, rng.normal(-0.1, 0.4)])
    joints = np.stack([body.joints_m for body in arrangement.bodies])
    if rng.random() < 0.6:
        _draw_limbs(draw, arrangement, _on_ground(joints, slope), 0.7)
    _draw_limbs(draw, arrangement, _on_ground(joints, 0.0 * slope), 1.0)
    soft = mask.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.6, 2.0))))
    strength = rng.uniform(0.2, 0.65)
    dark = np.asarray(soft.resize((camera.width_px, camera.height_px), Image.Resampling.BILINEAR), np.uint16)
    keep = (256 - dark * strength).astype(np.uint16)
    return ((background * keep[:, :, None]) >> 8).astype(np.uint8)


def _on_ground(joints_m: Array, slope: Array) -> Array:
    """Joints [P, J, 3] moved along the light down to the ground."""
    flat = joints_m + joints_m[..., 1:2] * slope
    flat[..., 1] = 0.0
    return flat


def _draw_limbs(
    draw: ImageDraw.ImageDraw, arrangement: Arrangement, joints_m: Array, darkness: float
) -> None:
    pixels, depths = arrangement.project(joints_m)
    if not (depths > 0.3).all():
        return
    pixels_per_m = arrangement.camera.focal_px / depths / _SHRINK
    places = (pixels / _SHRINK).tolist()
    for person, per_m in zip(places, pixels_per_m.tolist(), strict=True):
        for first, second, radius in _LIMBS:
            width = max(1, int(2.0 * radius * per_m[first]))
            draw.line((*person[first], *person[second]), int(255 * darkness), width)
