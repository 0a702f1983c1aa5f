"""Decoding of everything but ordinary JPEG, by Pillow, with its ways of failing sorted out."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, UnidentifiedImageError

from pipeline.images.ends import ends_early, format_of
from pipeline.images.exif import INVERSE, UPRIGHT, orientation_of
from pipeline.images.reduction import reduction_factor
from posrefine.eight_bit_rgb import eight_bit_rgb, has_eight_bit_meaning
from posrefine.errors import ImageError, ImageStatus
from posrefine.image_formats import PILLOW_FORMATS
from posrefine.plain_png import PNG_SIGNATURE, plain_png

__all__ = ["Raster", "decode_with_pillow", "require_pixels"]

_TIFF_ORIENTATION = 274
_BAND_ROWS = 64
"""A multiple of every factor of reduction."""

_UNDONE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What turns a picture back that was turned upright by its orientation."""

_NO_READER = ("unknown pixel mode", "nsupported", "not available", "cannot handle", "byte order")

# The gate has a limit of its own; Pillow's warns at one size, raises at another, and tells neither side.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True)
class Raster:
    """Pixels as stored, and how to turn them.

    Attributes:
        pixels: [H, W, 3] uint8 RGB, before the EXIF rule, decoded smaller by `factor`.
        orientation: EXIF orientation 1 to 8.
        width: of the whole picture as stored, px.
        height: of the whole picture as stored, px.
        factor: 1, 2, 4 or 8.
    """

    pixels: NDArray[np.uint8]
    orientation: int
    width: int
    height: int
    factor: int = 1


def decode_with_pillow(data: bytes, max_pixels: int, needed_px: int | None = None) -> Raster:
    """Decode the first frame; `ImageError` for everything that Pillow does not accept.

    With `needed_px`, box-reduced where the short side is at least twice as long.
    """
    pixels_only = plain_png(data) if data.startswith(PNG_SIGNATURE) else data
    try:
        with Image.open(io.BytesIO(pixels_only), formats=PILLOW_FORMATS) as image:
            require_pixels(image.width, image.height, max_pixels)
            return _raster(image, needed_px)
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # decoders raise whatever hostile bytes lead them to
        raise _explain(data, error) from error


def require_pixels(width: int, height: int, max_pixels: int) -> None:
    """Raise `ImageError` (too_large, with the size) for an image of more pixels than the limit."""
    if width * height > max_pixels:
        message = f"{width} x {height} px are {width * height}; the limit is {max_pixels}"
        raise ImageError(ImageStatus.TOO_LARGE, message, width=width, height=height)


def _raster(image: ImageFile.ImageFile, needed_px: int | None) -> Raster:
    width, height = image.size
    factor = reduction_factor(width, height, needed_px)
    if image.format != "TIFF":
        image.load()
        return Raster(_rgb(image, factor), orientation_of(image.info.get("exif")), width, height, factor)
    tag = image.getexif().get(_TIFF_ORIENTATION, UPRIGHT)
    orientation = tag if tag in INVERSE else UPRIGHT
    image.load()  # turns a TIFF by its tag, which is undone here so that one rule holds for all formats
    stored = image if orientation == UPRIGHT else image.transpose(_UNDONE[orientation])
    return Raster(_rgb(stored, factor), orientation, *stored.size, factor)


def _rgb(image: Image.Image, factor: int) -> NDArray[np.uint8]:
    """[H, W, 3] uint8, converted some rows at a time: whole, each step would hold the picture once more."""
    if not has_eight_bit_meaning(image):
        raise ImageError(
            ImageStatus.UNSUPPORTED,
            f"{image.format} with samples of mode {image.mode}; convert it to 8-bit RGB",
        )
    pixels = np.empty((-(-image.height // factor), -(-image.width // factor), 3), np.uint8)
    for top in range(0, image.height, _BAND_ROWS):
        bottom = min(top + _BAND_ROWS, image.height)
        band = eight_bit_rgb(image.crop((0, top, image.width, bottom)))
        reduced = band.reduce(factor) if factor > 1 else band
        first = top // factor
        pixels[first : first + reduced.height] = np.asarray(reduced)
    return pixels


def _explain(data: bytes, error: Exception) -> ImageError:
    known = format_of(data)
    if known is None:
        return ImageError(
            ImageStatus.UNSUPPORTED,
            f"no known format begins with {data[:12]!r}; wanted {', '.join(PILLOW_FORMATS)}",
        )
    if ends_early(data):
        return ImageError(ImageStatus.TRUNCATED, f"{known}: {_reason(data, known, error)}")
    reason = _reason(data, known, error)
    if isinstance(error, NotImplementedError) or any(word in reason for word in _NO_READER):
        message = f"{known}: {reason}; nothing here reads this kind: convert it to PNG or JPEG"
        return ImageError(ImageStatus.UNSUPPORTED, message)
    return ImageError(ImageStatus.CORRUPT, f"{known}: {reason}")


def _reason(data: bytes, known: str, error: Exception) -> str:
    """What the decoder said; also where Pillow asked all of its decoders and told of none."""
    if known == "BigTIFF (big-endian)":
        return "this byte order of BigTIFF"
    if not isinstance(error, UnidentifiedImageError):
        return f"{type(error).__name__}: {error}"
    if known in ("AVIF", "HEIF") and known not in PILLOW_FORMATS:
        return "unsupported by this installation"
    try:
        Image.OPEN[known.split()[0].removeprefix("Big")][0](io.BytesIO(data), "")
    except Exception as told:  # noqa: BLE001 - whatever hostile bytes lead a decoder to
        return f"{type(told).__name__}: {told}"
    return "cannot be identified"
