"""Decoding of everything but ordinary JPEG, by Pillow, with its ways of failing sorted out."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from pipeline.exif import INVERSE, UPRIGHT, orient, orientation_of
from pipeline.image_ends import ends_early, format_of
from posrefine.errors import ImageError, ImageStatus

__all__ = ["Raster", "decode_with_pillow", "require_pixels"]

_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
_TIFF_ORIENTATION = 274
_NO_8_BIT_MEANING = {"I", "F", "LAB", "HSV"}

# The gate has a limit of its own; Pillow's warns at one size, raises at another, and tells neither side.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Raster:
    """Pixels as stored, and how to turn them.

    Attributes:
        pixels: [H, W, 3] uint8 RGB, before the EXIF rule.
        orientation: EXIF orientation 1 to 8.
    """

    pixels: NDArray[np.uint8]
    orientation: int


def decode_with_pillow(data: bytes, max_pixels: int) -> Raster:
    """Decode the first frame; `ImageError` for everything that Pillow does not accept."""
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            require_pixels(image.width, image.height, max_pixels)
            return _raster(image)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # decoders raise whatever hostile bytes lead them to
        raise _explain(data, error) from error


def require_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise `ImageError` (too_large, with the size) for an image of more pixels than the limit."""
    if width * height > max_pixels:
        message = f"{width} x {height} px are {width * height}; the limit is {max_pixels}"
        raise ImageError(ImageStatus.TOO_LARGE, message, width=width, height=height)


def _raster(image: ImageFile.ImageFile) -> Raster:
    if image.format != "TIFF":
        image.load()
        return Raster(_rgb(image), orientation_of(image.info.get("exif")))
    tag = image.getexif().get(_TIFF_ORIENTATION, UPRIGHT)
    orientation = tag if tag in INVERSE else UPRIGHT
    image.load()  # turns a TIFF by its tag, which is undone here so that one rule holds for all formats
    return Raster(orient(_rgb(image), INVERSE[orientation]), orientation)


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16"):
        grey = (np.asarray(image) >> 8).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode in _NO_8_BIT_MEANING:
        raise ImageError(
            ImageStatus.UNSUPPORTED,
            f"{image.format} with samples of mode {image.mode}; convert it to 8-bit RGB",
        )
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return np.array(image.convert("RGB"))


def _explain(data: bytes, error: Exception) -> ImageError:
    known = format_of(data)
    if known is None:
        return ImageError(
            ImageStatus.UNSUPPORTED,
            f"no known format begins with {data[:12]!r}; wanted {', '.join(_FORMATS)}",
        )
    status = ImageStatus.TRUNCATED if ends_early(data) else ImageStatus.CORRUPT
    reason = "cannot be identified" if isinstance(error, UnidentifiedImageError) else str(error)
    return ImageError(status, f"{known}: {type(error).__name__}: {reason}")
