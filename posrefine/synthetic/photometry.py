"""What a camera and a file format do to a picture: blur, exposure, colour cast, noise, JPEG."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from posrefine.synthetic.backdrop import noise_bank

__all__ = ["degrade"]

Bytes = NDArray[np.uint8]
Rng = np.random.Generator

_MOTION_PX = ((1.0, 0.0), (2.0, 0.0), (0.0, 1.0), (0.0, 2.0))
"""Half the way the camera moves during the exposure, along x and y."""


def degrade(image: Bytes, rng: Rng) -> Bytes:
    """[H, W, 3] the image as a random camera would have delivered it; geometry is unchanged."""
    picture = _expose(Image.fromarray(image), rng)
    if rng.random() < 0.35:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.3))))
    elif rng.random() < 0.15:
        picture = picture.filter(ImageFilter.BoxBlur(_MOTION_PX[rng.integers(len(_MOTION_PX))]))
    pixels = np.asarray(picture)
    if rng.random() < 0.6:
        pixels = _noise(pixels, float(rng.uniform(1.0, 12.0)), rng)
    return _jpeg(pixels, int(rng.integers(35, 95))) if rng.random() < 0.4 else pixels


def _expose(picture: Image.Image, rng: Rng) -> Image.Image:
    """Gain, contrast and gamma, a little different for every channel."""
    gain = rng.uniform(0.75, 1.2) * np.exp(rng.normal(0.0, 0.05, 3))
    gamma = np.exp(rng.normal(0.0, 0.16))
    lift = rng.uniform(-12.0, 22.0)
    levels = (np.arange(256) / 255.0) ** gamma
    table = np.clip(lift + (255.0 - abs(lift)) * gain[:, None] * levels, 0, 255)
    return picture.point(table.astype(np.uint8).reshape(-1).tolist())


def _noise(pixels: Bytes, sigma: float, rng: Rng) -> Bytes:
    bank = noise_bank()
    start = int(rng.integers(0, len(bank) - 1))
    noise = np.take(bank, np.arange(start, start + pixels.size), mode="wrap")
    noisy = pixels + ((noise * np.int16(round(sigma * 4))) >> 8).reshape(pixels.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def _jpeg(pixels: Bytes, quality: int) -> Bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))
