"""What lies behind the persons: rooms, streets, meadows, bare texture, clutter that may look like limbs."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from posrefine.synthetic.camera import Camera
from posrefine.synthetic.wardrobe import SKIN_TONES_RGB, cloth_rgb

__all__ = ["backdrop", "noise_bank"]

Array = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Rng = np.random.Generator
Ink = tuple[int, int, int]


@lru_cache(maxsize=1)
def noise_bank() -> NDArray[np.int16]:
    """[1 << 20] standard normal noise times 64, drawn once: slices of it are far cheaper than new numbers."""
    numbers = np.random.default_rng(20).standard_normal(1 << 20)
    return np.clip(numbers * 64.0, -400, 400).astype(np.int16)


def backdrop(camera: Camera, rng: Rng) -> Bytes:
    """[H, W, 3] a background that agrees with the camera's horizon where it has one."""
    paint = (_plain, _room, _outdoors, _texture)[rng.choice(4, p=[0.2, 0.3, 0.3, 0.2])]
    image = paint(camera, rng)
    _clutter(image, rng)
    if rng.random() < 0.5:
        image = image.filter(ImageFilter.BoxBlur(float(rng.uniform(0.4, 2.5))))
    return _grain(np.asarray(image), rng)


def _grain(image: Bytes, rng: Rng) -> Bytes:
    """Soft blotches of light and shade, so that no surface is one flat colour."""
    height, width = image.shape[:2]
    cells = int(rng.integers(4, 40))
    blotches = (128 + rng.normal(0, rng.uniform(4, 22), (cells, cells))).clip(0, 255).astype(np.uint8)
    field = np.asarray(Image.fromarray(blotches).resize((width, height), Image.Resampling.BICUBIC), np.int16)
    return np.asarray(np.clip(image + (field - 128)[:, :, None], 0, 255), np.uint8)


def _surface_rgb(rng: Rng) -> Array:
    """[3] a colour that walls and floors have: mostly greyish, at times strong."""
    strength = rng.uniform(0.05, 0.35) if rng.random() < 0.8 else rng.uniform(0.35, 1.0)
    return np.asarray((1.0 - strength) * rng.uniform(25, 235) + strength * rng.uniform(0, 255, 3))


def _ink(rgb: Array) -> Ink:
    red, green, blue = np.clip(rgb, 0, 255).astype(int).tolist()
    return red, green, blue


def _size(camera: Camera) -> tuple[int, int]:
    return camera.width_px, camera.height_px


def _gradient(size: tuple[int, int], first: Array, second: Array, rng: Rng) -> Image.Image:
    """Two colours from corner to corner, each corner a little different."""
    corners = np.stack([first, 0.5 * (first + second), 0.5 * (first + second), second]).reshape(2, 2, 3)
    corners = np.clip(
        corners[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])] + rng.normal(0, 8, (2, 2, 3)), 0, 255
    )
    return Image.fromarray(corners.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)


def _plain(camera: Camera, rng: Rng) -> Image.Image:
    return _gradient(_size(camera), _surface_rgb(rng), _surface_rgb(rng), rng)


def _texture(camera: Camera, rng: Rng) -> Image.Image:
    """Colour noise at one or two scales, as in foliage, crowds far away, or patterned walls."""
    width, height = _size(camera)
    mean, spread, colour = _surface_rgb(rng), rng.uniform(15, 60), rng.uniform(0.0, 1.0)
    image = np.zeros((height, width, 3), np.float32)
    for weight in (0.65, 0.35):
        cells = max(3, int(width / np.exp(rng.uniform(np.log(3), np.log(60)))))
        light, tint = (
            rng.normal(0, spread, (cells, cells, 1)),
            rng.normal(0, spread * colour, (cells, cells, 3)),
        )
        noise = np.clip(mean + light + tint, 0, 255).astype(np.uint8)
        image += weight * np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))
    return Image.fromarray(image.astype(np.uint8))


def _split(camera: Camera, upper: Image.Image, lower: Image.Image, lift_px: float = 0.0) -> Image.Image:
    """`upper` above the horizon (moved down by `lift_px`), `lower` below it."""
    left, right = camera.horizon_px
    width, height = _size(camera)
    mask = Image.new("L", (width, height))
    corners = [
        (0.0, left + lift_px),
        (float(width), right + lift_px),
        (float(width), height + 1.0),
        (0.0, height + 1.0),
    ]
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    return Image.composite(lower, upper, mask)


def _room(camera: Camera, rng: Rng) -> Image.Image:
    size = _size(camera)
    wall, floor = _surface_rgb(rng), _surface_rgb(rng)
    upper = _gradient(size, wall, wall * rng.uniform(0.7, 1.0), rng)
    lower = _gradient(size, floor, floor * rng.uniform(0.6, 1.1), rng)
    draw = ImageDraw.Draw(upper)
    for _ in range(rng.integers(0, 5)):  # doors, windows, pictures
        x, y = rng.uniform(-0.1, 1.0) * size[0], rng.uniform(-0.1, 0.8) * size[1]
        w, h = rng.uniform(0.06, 0.4) * size[0], rng.uniform(0.1, 0.7) * size[1]
        draw.rectangle(
            (x, y, x + w, y + h), _ink(_surface_rgb(rng)), _ink(wall * 0.5), int(rng.integers(1, 5))
        )
    return _split(camera, upper, lower, float(rng.uniform(0.03, 0.3)) * size[1])


def _outdoors(camera: Camera, rng: Rng) -> Image.Image:
    size = _size(camera)
    sky = np.array([150.0, 185.0, 225.0]) * rng.uniform(0.5, 1.15) + rng.normal(0, 18, 3)
    ground = np.array(
        [(96, 124, 62), (120, 116, 110), (186, 168, 128), (84, 82, 84)][rng.integers(4)], np.float64
    )
    upper = _gradient(size, sky, np.clip(sky + 45, 0, 255), rng)
    lower = _gradient(size, ground * rng.uniform(0.7, 1.2), ground * rng.uniform(0.7, 1.2), rng)
    base = float(np.mean(camera.horizon_px)) + 0.02 * size[1]
    draw = ImageDraw.Draw(upper)
    for _ in range(rng.integers(0, 8)):
        x = rng.uniform(-0.1, 1.05) * size[0]
        (_building if rng.random() < 0.45 else _tree)(draw, x, base, size[1], rng)
    return _split(camera, upper, lower, float(rng.uniform(0.0, 0.06)) * size[1])


def _building(draw: ImageDraw.ImageDraw, x: float, base: float, height: int, rng: Rng) -> None:
    w, h = rng.uniform(0.1, 0.4) * height, rng.uniform(0.15, 0.8) * height
    colour = rng.uniform(60, 220, 3)
    draw.rectangle((x, base - h, x + w, base + height), _ink(colour))
    pane = max(4.0, w / float(rng.integers(3, 7)))
    glass = _ink(colour * rng.uniform(0.35, 0.8))
    for row in np.arange(base - h + 0.4 * pane, base, 1.6 * pane).tolist():
        for column in np.arange(x + 0.35 * pane, x + w - 0.7 * pane, 1.4 * pane).tolist():
            draw.rectangle((column, row, column + 0.65 * pane, row + 0.9 * pane), glass)


def _tree(draw: ImageDraw.ImageDraw, x: float, base: float, height: int, rng: Rng) -> None:
    h = rng.uniform(0.15, 0.7) * height
    trunk = _ink(np.array([88.0, 66.0, 46.0]) * rng.uniform(0.6, 1.3))
    draw.line((x, base + 0.1 * h, x + rng.normal(0, 0.05) * h, base - 0.7 * h), trunk, max(1, int(0.08 * h)))
    for _ in range(rng.integers(3, 9)):
        r = rng.uniform(0.12, 0.3) * h
        cx, cy = x + rng.normal(0, 0.16) * h, base - rng.uniform(0.5, 1.05) * h
        leaf = _ink(np.array([70.0, 110.0, 46.0]) * rng.uniform(0.5, 1.4) + rng.normal(0, 8, 3))
        draw.ellipse((cx - r, cy - r, cx + r, cy + r), leaf)


def _clutter(image: Image.Image, rng: Rng) -> None:
    """Boxes, poles, balls and jointed rods in the colours of skin and cloth: none of them is a person."""
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(0, 9)):
        shape = (_clutter_box, _clutter_pole, _clutter_ball, _clutter_rod, _clutter_rod)[rng.integers(5)]
        skin = rng.random() < 0.3
        colour = SKIN_TONES_RGB[rng.integers(len(SKIN_TONES_RGB))] if skin else cloth_rgb(rng)
        x, y = rng.uniform(0, image.width), rng.uniform(0, image.height)
        shape(draw, x, y, rng.uniform(0.03, 0.3) * image.height, colour, rng)


def _clutter_box(draw: ImageDraw.ImageDraw, x: float, y: float, size: float, rgb: Array, rng: Rng) -> None:
    w, h = size * rng.uniform(0.4, 1.6), size
    draw.rectangle((x, y, x + w, y + h), _ink(rgb))
    draw.polygon(
        [(x, y), (x + 0.25 * w, y - 0.2 * h), (x + 1.25 * w, y - 0.2 * h), (x + w, y)], _ink(rgb * 1.2)
    )
    draw.polygon(
        [(x + w, y), (x + 1.25 * w, y - 0.2 * h), (x + 1.25 * w, y + 0.8 * h), (x + w, y + h)],
        _ink(rgb * 0.7),
    )


def _clutter_pole(draw: ImageDraw.ImageDraw, x: float, y: float, size: float, rgb: Array, rng: Rng) -> None:
    width = max(2, int(0.1 * size))
    top, low = y - 3.0 * size, y + 2.0 * size
    lean = rng.normal(0, 0.1) * size
    draw.line((x, low, x + lean, top), _ink(rgb * 0.7), width + 2)
    draw.line((x, low, x + lean, top), _ink(rgb), max(1, width - 1))


def _clutter_ball(draw: ImageDraw.ImageDraw, x: float, y: float, size: float, rgb: Array, rng: Rng) -> None:
    for step, light in ((1.0, 0.72), (0.85, 0.86), (0.65, 0.98), (0.4, 1.1), (0.15, 1.2)):
        r, shift = 0.5 * size * step, 0.12 * size * (1 - step)
        draw.ellipse((x - r - shift, y - r - shift, x + r - shift, y + r - shift), _ink(rgb * light))


def _clutter_rod(draw: ImageDraw.ImageDraw, x: float, y: float, size: float, rgb: Array, rng: Rng) -> None:
    """Two or three rods end to end, shaded like a limb."""
    angle = rng.uniform(0, 2 * np.pi)
    for _ in range(rng.integers(1, 4)):
        width = max(2.0, size * rng.uniform(0.16, 0.34))
        ex, ey = x + size * np.cos(angle), y + size * np.sin(angle)
        for share, light in ((1.0, 0.72), (0.75, 0.86), (0.5, 0.97), (0.25, 1.08)):
            r, ink = 0.5 * width * share, _ink(rgb * light)
            draw.line((x, y, ex, ey), ink, max(1, int(2 * r)))
            draw.ellipse((x - r, y - r, x + r, y + r), ink)
            draw.ellipse((ex - r, ey - r, ex + r, ey + r), ink)
        x, y, angle = ex, ey, angle + rng.normal(0, 0.9)
