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

import numpy as np
from numpy.typing import NDArray

from pipeline.images import jpeg_header
from pipeline.images.cost import decoding_cost
from pipeline.images.exif import orient, orientation_of
from pipeline.images.exif_rule import ExifRule
from pipeline.images.jpeg import decode_jpeg
from pipeline.images.pillow_gate import Raster, decode_with_pillow, require_pixels
from pipeline.images.reduction import WHOLE, Reduction, reduction_factor
from posrefine.errors import ImageError, ImageStatus

__all__ = ["DecodedImage", "ExifRule", "ImageLimits", "decode_image"]


@dataclass(frozen=True)
class ImageLimits:
    """What is refused before decoding, as `too_large`.

    Attributes:
        max_encoded_bytes: of one file.
        max_pixels: of one picture, as stored.
        max_decoder_bytes: that decoding one picture may hold at once. A decoder that needs over 64 MiB must
            also come by with 32 bytes for each px: 64 x 64 px in a tile of a gigabyte are no picture.
    """

    max_encoded_bytes: int = 64 * 2**20
    max_pixels: int = 100_000_000
    max_decoder_bytes: int = 2 * 2**30


_MOST_BYTES_PER_PX = 32
_ALWAYS_GRANTED_BYTES = 64 * 2**20


@dataclass(frozen=True)
class DecodedImage:
    """A decoded image.

    Attributes:
        pixels: [H, W, 3] uint8 RGB, contiguous, the EXIF rule applied; smaller than the picture by the
            factor of `reduction`, sides rounded up.
        exif_orientation: 1 to 8 as stored in the file, whatever the rule.
        width: of the whole picture, the EXIF rule applied, px: the frame in which results are told.
        height: of the whole picture, px.
        reduction: where the pixels lie in the whole picture.
    """

    pixels: NDArray[np.uint8]
    exif_orientation: int
    width: int
    height: int
    reduction: Reduction = WHOLE


def decode_image(
    data: bytes, *, limits: ImageLimits, exif: ExifRule, needed_px: int | None = None
) -> DecodedImage:
    """Decode the encoded bytes of one image; `ImageError` says why one cannot be used.

    Args:
        data: the whole file.
        limits: what is refused.
        exif: whether pixels are turned upright.
        needed_px: the short side that is wanted. A picture whose short side is at least 2, 4 or 8 times as
            long is decoded smaller by that factor: a JPEG in its DCT domain, others by the mean of blocks.
            None decodes everything whole.
    """
    if len(data) > limits.max_encoded_bytes:
        raise ImageError(
            ImageStatus.TOO_LARGE, f"{len(data)} encoded bytes; the limit is {limits.max_encoded_bytes}"
        )
    if not data:
        raise ImageError(ImageStatus.TRUNCATED, "0 bytes")
    _require_memory(data, limits, needed_px)
    raster = _decode(data, limits.max_pixels, needed_px)
    if exif == "ignore":
        reduction = Reduction(raster.factor)
        return DecodedImage(raster.pixels, raster.orientation, raster.width, raster.height, reduction)
    width, height = raster.width, raster.height
    if raster.orientation >= 5:
        width, height = height, width
    pixels = orient(raster.pixels, raster.orientation)
    reduction = Reduction(raster.factor).turned(raster.orientation, width, height)
    return DecodedImage(pixels, raster.orientation, width, height, reduction)


def _require_memory(data: bytes, limits: ImageLimits, needed_px: int | None) -> None:
    cost = decoding_cost(data, needed_px)
    if cost is None:
        return
    require_pixels(cost.width, cost.height, limits.max_pixels)
    by_size = max(_ALWAYS_GRANTED_BYTES, _MOST_BYTES_PER_PX * cost.width * cost.height)
    limit = min(limits.max_decoder_bytes, by_size)
    if cost.peak_bytes > limit:
        message = (
            f"decoding {cost.width} x {cost.height} px would take {cost.peak_bytes} bytes of memory; the "
            f"limit is {limit}"
        )
        raise ImageError(ImageStatus.TOO_LARGE, message, width=cost.width, height=cost.height)


def _decode(data: bytes, max_pixels: int, needed_px: int | None) -> Raster:
    if not data.startswith(jpeg_header.SIGNATURE):
        return decode_with_pillow(data, max_pixels, needed_px)
    header = jpeg_header.read_jpeg_header(data)
    require_pixels(header.width, header.height, max_pixels)
    if header.precision_bits != 8:
        raise ImageError(
            ImageStatus.UNSUPPORTED, f"JPEG with {header.precision_bits} bits a sample; 8 wanted"
        )
    factor = reduction_factor(header.width, header.height, needed_px)
    pixels = decode_jpeg(data, header, factor)
    if pixels is None:
        return decode_with_pillow(data, max_pixels, needed_px)
    return Raster(pixels, orientation_of(header.exif), header.width, header.height, factor)
