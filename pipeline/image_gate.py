"""(being built) Interface of decoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

ExifRule = Literal["apply", "ignore"]


@dataclass(frozen=True)
class ImageLimits:
    """What is refused before decoding."""

    max_encoded_bytes: int = 64 * 2**20
    max_pixels: int = 100_000_000


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image."""

    pixels: NDArray[np.uint8]
    """[H, W, 3] uint8 RGB."""
    exif_orientation: int


def decode_image(data: bytes, *, limits: ImageLimits, exif: ExifRule) -> DecodedImage:
    """Decode, or ImageError."""
    raise NotImplementedError
