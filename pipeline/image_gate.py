"""From encoded bytes to RGB pixels, or to the reason why not.

Every input image passes here, the hostile ones too: size limits hold before anything is decoded, only the
formats below are tried, and whatever a decoder says about bad bytes comes out as an `ImageError` with a
status:

    too_large    more encoded bytes or more pixels than the limits
    truncated    the bytes end before the image does (also: no bytes at all)
    corrupt      a known format whose content is broken
    unsupported  not one of the formats (text named .jpg), or samples without a defined way to 8 bits

JPEG goes through libjpeg-turbo in its strict mode, because a lenient decoder paints the missing rows of a
cut photo grey and calls it an image. PNG, WebP, BMP, TIFF, GIF (the first frame) and CMYK JPEG go through
Pillow.

Grey becomes three equal channels; 16-bit grey keeps its high byte; alpha is dropped and the colours below it
stay, as `PIL.Image.convert("RGB")` and OpenCV's `imread` do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from pipeline import jpeg_header
from pipeline.exif import orient, orientation_of
from pipeline.pillow_gate import Raster, decode_with_pillow, require_pixels
from posrefine.errors import ImageError, ImageStatus

__all__ = ["DecodedImage", "ExifRule", "ImageLimits", "decode_image"]

ExifRule = Literal["apply", "ignore"]
"""`apply` turns the pixels upright; `ignore` leaves them as stored, as COCO's own protocol does."""


@dataclass(frozen=True)
class ImageLimits:
    """What is refused before decoding, as `too_large`."""

    max_encoded_bytes: int = 64 * 2**20
    max_pixels: int = 100_000_000


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image.

    Attributes:
        pixels: [H, W, 3] uint8 RGB, contiguous, the EXIF rule applied.
        exif_orientation: 1 to 8 as stored in the file, whatever the rule.
    """

    pixels: NDArray[np.uint8]
    exif_orientation: int


def decode_image(data: bytes, *, limits: ImageLimits, exif: ExifRule) -> DecodedImage:
    """Decode the encoded bytes of one image; `ImageError` says why one cannot be used."""
    if len(data) > limits.max_encoded_bytes:
        raise ImageError(
            ImageStatus.TOO_LARGE, f"{len(data)} encoded bytes; the limit is {limits.max_encoded_bytes}"
        )
    if not data:
        raise ImageError(ImageStatus.TRUNCATED, "0 bytes")
    raster = _decode(data, limits.max_pixels)
    pixels = orient(raster.pixels, raster.orientation) if exif == "apply" else raster.pixels
    return DecodedImage(pixels, raster.orientation)


def _decode(data: bytes, max_pixels: int) -> Raster:
    if not data.startswith(jpeg_header.SIGNATURE):
        return decode_with_pillow(data, max_pixels)
    header = jpeg_header.read_jpeg_header(data)
    require_pixels(header.width, header.height, max_pixels)
    if header.precision_bits != 8:
        raise ImageError(
            ImageStatus.UNSUPPORTED, f"JPEG with {header.precision_bits} bits a sample; 8 wanted"
        )
    if header.components == 4:
        _require_end(data, header)
        return decode_with_pillow(data, max_pixels)
    return _decode_jpeg(data, header, max_pixels)


def _decode_jpeg(data: bytes, header: jpeg_header.JpegHeader, max_pixels: int) -> Raster:
    try:
        pixels = simplejpeg.decode_jpeg(data, "RGB", strict=True)
    except ValueError as error:
        _require_end(data, header)
        if "subsampling" in str(error):  # valid but unusual factors, which only Pillow takes
            return decode_with_pillow(data, max_pixels)
        if not _is_padding(str(error)):
            raise ImageError(ImageStatus.CORRUPT, f"JPEG: {error}") from error
        pixels = simplejpeg.decode_jpeg(data, "RGB", strict=False)
    return Raster(pixels, orientation_of(header.exif))


def _is_padding(warning: str) -> bool:
    """Filling between the last scan and the end marker, which many cameras write and which harms nothing."""
    return warning.startswith("Corrupt JPEG data:") and warning.endswith(
        "extraneous bytes before marker 0xd9"
    )


def _require_end(data: bytes, header: jpeg_header.JpegHeader) -> None:
    if data.find(b"\xff\xd9", header.scan_byte) < 0:
        raise ImageError(ImageStatus.TRUNCATED, f"JPEG: no end marker within its {len(data)} bytes")
