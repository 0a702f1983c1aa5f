"""Decoding of JPEG by libjpeg-turbo: strictly, and where that fails, by what its warnings mean."""

from __future__ import annotations

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from pipeline.images.jpeg_header import JpegHeader
from pipeline.images.jpeg_scans import only_filling
from pipeline.images.plain_jpeg import plain_jpeg
from posrefine.errors import ImageError, ImageStatus

__all__ = ["decode_jpeg"]

_NO_READER = ("SOF type", "Unsupported marker", "color conversion", "lossless")
_HIERARCHICAL = {0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF}


def decode_jpeg(data: bytes, header: JpegHeader, factor: int = 1) -> NDArray[np.uint8] | None:
    """[H, W, 3] uint8 RGB as stored, or [ceil(H / factor), ceil(W / factor), 3] for a factor of 2, 4 or 8.

    None for what libjpeg-turbo's simple interface does not turn into RGB, and other readers do: CMYK, whose
    data have been looked through, and valid but unusual sampling factors.

    Raises `ImageError`: truncated without an end marker, corrupt where entropy-coded data were lost,
    unsupported for a coding that no library here knows.
    """
    if header.components == 4:
        _decode_checked(data, header, "CMYK", 8)
        return None
    return _decode_checked(data, header, "RGB", factor)


def _decode_checked(data: bytes, header: JpegHeader, colours: str, factor: int) -> NDArray[np.uint8] | None:
    try:
        return _decode(data, header, colours, factor)
    except ValueError as error:
        warning = str(error)
    if data.find(b"\xff\xd9", header.scan_byte) < 0:
        raise ImageError(ImageStatus.TRUNCATED, f"JPEG: no end marker within its {len(data)} bytes")
    plain = plain_jpeg(data)
    if "subsampling" in warning and plain.frame_marker not in _HIERARCHICAL:
        return None
    if "color conversion" in warning and header.components == 1 and colours == "RGB":
        return _grey(data, header, factor)  # lossless coding, which decoders keep in its own colours
    try:
        return _decode(plain.encode(), header, colours, factor)
    except ValueError as error:
        warning = str(error)
    if "extraneous bytes before marker" in warning and only_filling(plain, colours):
        return _decode(plain.encode(), header, colours, factor, strict=False)
    if plain.frame_marker in _HIERARCHICAL or any(word in warning for word in _NO_READER):
        message = f"JPEG: {warning} (frame {plain.frame_marker:#04x}); nothing here reads this kind of JPEG"
        raise ImageError(ImageStatus.UNSUPPORTED, f"{message}: convert it to PNG or an ordinary JPEG")
    raise ImageError(ImageStatus.CORRUPT, f"JPEG: {warning}")


def _decode(
    data: bytes, header: JpegHeader, colours: str, factor: int, *, strict: bool = True
) -> NDArray[np.uint8]:
    smaller: dict[str, int] = {}
    if factor > 1:
        height, width = -(-header.height // factor), -(-header.width // factor)
        smaller = {"min_height": height, "min_width": width, "min_factor": factor}
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colours, strict=strict, **smaller)
    return pixels


def _grey(data: bytes, header: JpegHeader, factor: int) -> NDArray[np.uint8] | None:
    """A grey picture without a DCT domain, as three equal channels."""
    pixels = _decode_checked(data, header, "GRAY", 1)
    if pixels is None:
        return None
    grey = pixels if factor == 1 else np.asarray(Image.fromarray(pixels[:, :, 0]).reduce(factor))[:, :, None]
    return np.repeat(grey, 3, axis=2)
