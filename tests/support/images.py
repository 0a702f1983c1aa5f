"""Encoded images made on the spot."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["encode", "exif_block", "gradient"]


def gradient(width: int = 48, height: int = 32) -> NDArray[np.uint8]:
    """[H, W, 3] uint8 whose corners all differ, so that every turn and mirroring shows."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = x * 255 // max(1, width - 1), y * 255 // max(1, height - 1)
    return np.stack([red, green, (red + 2 * green) % 256], axis=2).astype(np.uint8)


def encode(pixels: NDArray[np.uint8], kind: str = "JPEG", mode: str = "RGB", **options: object) -> bytes:
    """The bytes of an image file of the given kind, by Pillow."""
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def exif_block(orientation: int) -> bytes:
    """A raw EXIF block that holds an orientation and nothing else."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif.tobytes()
