"""Random colour, sharpness and noise of a view: what cameras, lenses and file formats do to the same people.

They keep a network from overfitting to the colours and the grain of few photographs or of rendered people.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from posrefine.errors import ConfigurationError
from posrefine.synthetic.backdrop import noise_bank

__all__ = ["Photometry"]

Pixels = NDArray[np.uint8]
Rng = np.random.Generator

_LUMINANCE = np.array([0.299, 0.587, 0.114])
_GREY_PROBABILITY = 0.08
_SMALLEST_SHARE = 0.35
"""Of its side that a view keeps where it is made small and large again."""


@dataclass(frozen=True)
class Photometry:
    """How strongly pixels are changed; joints stay where they are.

    Attributes:
        colour: strength of changes of brightness, contrast, saturation, hue, gamma and white balance, and of
            views in grey: 0 leaves colours alone; at 1 brightness and contrast vary by 40%, saturation from
            nearly grey to twice as strong, hue by 25 degrees.
        degrade: probability of each of: blur or loss of resolution, noise, JPEG's traces.
    """

    colour: float = 0.0
    degrade: float = 0.0

    def __post_init__(self) -> None:
        for name in ("colour", "degrade"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: give a number from 0 to 1")

    def apply(self, pixels: Pixels, rng: Rng) -> Pixels:
        """[H, W, 3] the pixels in other colours, blurred, noisy; the same for the same state of `rng`."""
        if self.colour > 0:
            pixels = _recolour(pixels, self.colour, rng)
        if self.degrade > 0:
            if rng.random() < self.degrade:
                pixels = _soften(pixels, rng)
            if rng.random() < self.degrade:
                pixels = _noise(pixels, float(rng.uniform(1.0, 14.0)), rng)
            if rng.random() < self.degrade:
                pixels = _jpeg(pixels, int(rng.integers(25, 90)))
        return pixels


def _recolour(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """Saturation and hue as one matrix; then contrast, brightness, gamma and white balance as tables."""
    saturation = float(np.exp(rng.uniform(-1.2, 0.7) * strength))
    if rng.random() < _GREY_PROBABILITY * strength:
        saturation = 0.0
    matrix = _saturate(saturation) @ _turn_hue(np.deg2rad(rng.normal(0.0, 12.0)) * strength)
    rows = np.column_stack([matrix, np.zeros(3)]).ravel().tolist()
    picture = Image.fromarray(pixels).convert("RGB", tuple(rows))
    gain = np.exp(rng.uniform(-0.4, 0.35) * strength + rng.normal(0.0, 0.07, 3) * strength)
    contrast = np.exp(rng.uniform(-0.5, 0.35) * strength)
    gamma = np.exp(rng.normal(0.0, 0.22) * strength)
    levels = (np.arange(256) / 255.0) ** gamma
    pivot = float(np.asarray(picture).mean()) / 255.0
    table = 255.0 * gain[:, None] * (pivot + contrast * (levels - pivot))
    return np.asarray(picture.point(np.clip(table, 0, 255).astype(np.uint8).ravel().tolist()))


def _saturate(factor: float) -> NDArray[np.float64]:
    return factor * np.eye(3) + (1 - factor) * _LUMINANCE[None, :].repeat(3, axis=0)


def _turn_hue(radians: float) -> NDArray[np.float64]:
    """A rotation of RGB around its grey axis."""
    cosine, sine = np.cos(radians), np.sin(radians) / np.sqrt(3.0)
    third = (1 - cosine) / 3.0
    return np.asarray(
        cosine * np.eye(3) + third + sine * np.array([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]])
    )


def _soften(pixels: Pixels, rng: Rng) -> Pixels:
    """Out of focus, moved, or small and enlarged again."""
    picture, kind = Image.fromarray(pixels), rng.random()
    if kind < 0.4:
        return np.asarray(picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.4, 2.0)))))
    if kind < 0.6:
        reach_px = float(rng.uniform(0.5, 2.5))
        along = (reach_px, 0.0) if rng.random() < 0.5 else (0.0, reach_px)
        return np.asarray(picture.filter(ImageFilter.BoxBlur(along)))
    share = rng.uniform(_SMALLEST_SHARE, 0.9)
    small = picture.resize(
        (max(1, int(picture.width * share)), max(1, int(picture.height * share))), Image.Resampling.BILINEAR
    )
    return np.asarray(small.resize(picture.size, Image.Resampling.BILINEAR))


def _noise(pixels: Pixels, sigma: float, rng: Rng) -> Pixels:
    """Grain of one value a pixel, or of one a channel."""
    bank = noise_bank()
    height, width = pixels.shape[:2]
    channels = 3 if rng.random() < 0.5 else 1
    start = int(rng.integers(0, len(bank)))
    noise = np.take(bank, np.arange(start, start + height * width * channels), mode="wrap")
    grain = (noise.astype(np.int32) * round(sigma * 4) >> 8).reshape(height, width, channels)
    return np.clip(pixels + grain, 0, 255).astype(np.uint8)


def _jpeg(pixels: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))
