"""What decoding a picture costs in memory, told by its header alone.

A picture takes more than its pixels while it is decoded: the coefficients of a progressive JPEG, the canvases
of a WebP, a tile of a TIFF that is larger than the picture. The bytes a px below were measured with a picture
of 12 MP of each kind (`benchmarks/decoding_memory.py`) and hold for the way in which this package decodes.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.images.ends import first_gif_frame_byte, format_of
from pipeline.images.exif import UPRIGHT, orientation_of
from pipeline.images.jpeg_header import read_jpeg_header
from pipeline.images.reduction import reduction_factor
from pipeline.images.tiff_directory import read_directory
from posrefine.errors import ImageError

__all__ = ["DecodingCost", "decoding_cost"]

_RGB = 3
_WORKING_BYTES = 4 * 2**20
"""Rows that are being converted, and what decoders have of their own."""

_WEBP_CANVASES = 14.5
_AVIF_BYTES_PER_PX = 12
_HEIF_BYTES_PER_PX = 9
_ISO_HEADER_BYTES = 65_536
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_JPEG_IN_TIFF = {6, 7}
_TURNED_TAG = 274


@dataclass(frozen=True)
class DecodingCost:
    """Size and memory of one picture.

    Attributes:
        width: px, as stored, before any EXIF turn.
        height: px, as stored.
        factor: 1, 2, 4 or 8, by which it is decoded smaller.
        decoded_bytes: of the pixels that come out, 3 a px.
        peak_bytes: the most that is held at once while it is decoded, with what comes out, without the
            encoded bytes.
    """

    width: int
    height: int
    factor: int
    decoded_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class _Stored:
    """A picture as stored: its size, and bytes a px and whole buffers that its decoder holds besides."""

    width: int
    height: int
    bytes_per_px: float
    buffer_bytes: int = 0
    is_turned: bool = False


def decoding_cost(data: bytes, needed_px: int | None = None) -> DecodingCost | None:
    """The cost by the header, which may be all that `data` holds; None where it does not tell.

    `needed_px` is the short side from which on pictures are decoded smaller, as for `decode_image`.
    """
    name = format_of(data)
    read = _READERS.get(name.removeprefix("Big").split()[0]) if name is not None else None
    if read is None:
        return None
    try:
        stored = read(data)
    except (struct.error, ImageError, ValueError):
        return None
    factor = reduction_factor(stored.width, stored.height, needed_px)
    pixels = stored.width * stored.height
    decoded_bytes = _RGB * -(-stored.width // factor) * -(-stored.height // factor)
    held = int(pixels * stored.bytes_per_px) + stored.buffer_bytes + decoded_bytes + _WORKING_BYTES
    turning = 2 * decoded_bytes if stored.is_turned else 0
    return DecodingCost(stored.width, stored.height, factor, decoded_bytes, max(held, turning))


def _jpeg(data: bytes) -> _Stored:
    header = read_jpeg_header(data)
    coefficients = 0.0
    if header.frame_marker in _PROGRESSIVE:
        factors = [(both >> 4, both & 15) for both in header.sampling]
        largest = max(across for across, _ in factors) * max(down for _, down in factors)
        coefficients = 2 * sum(across * down for across, down in factors) / max(1, largest)
    inks = 4 if header.components == 4 else 0
    is_turned = orientation_of(header.exif) != UPRIGHT
    return _Stored(header.width, header.height, coefficients + inks, is_turned=is_turned)


def _png(data: bytes) -> _Stored:
    width, height, bits, colours = struct.unpack_from(">IIBB", data, 16)
    held = {0: 2 if bits == 16 else 1, 3: 1}.get(colours, 4)
    # The copy without metadata; of a row's filter and the inflater's window nothing is felt.
    return _Stored(width, height, held, buffer_bytes=len(data), is_turned=b"eXIf" in data[:65_536])


def _webp(data: bytes) -> _Stored:
    kind = data[12:16]
    if kind == b"VP8X":
        size = tuple(1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        size = (1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    else:
        size = tuple(side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
    if len(data) < 30:
        raise struct.error("the header is cut")
    return _Stored(size[0], size[1], _WEBP_CANVASES, is_turned=kind == b"VP8X")


def _bmp(data: bytes) -> _Stored:
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    width, height, _, bits = struct.unpack_from("<HHHH" if header_bytes == 12 else "<iiHH", data, 18)
    return _Stored(abs(width), abs(height), 1 if bits <= 8 else 4)


def _gif(data: bytes) -> _Stored:
    width, height = struct.unpack_from("<HH", data, 6)
    left, top, across, down = struct.unpack_from("<HHHH", data, first_gif_frame_byte(data) + 1)
    return _Stored(max(width, left + across), max(height, top + down), 1)


def _tiff(data: bytes) -> _Stored:
    directory = read_directory(data)
    width, height, samples = directory.first(256), directory.first(257), directory.first(277, 1)
    bits = int(directory.values[258].max()) if 258 in directory.values else 1
    held = 4 if samples > 1 else max(1, min(bits, 32) // 8)
    turned = directory.first(_TURNED_TAG, UPRIGHT) != UPRIGHT
    in_buffer = max(samples * bits / 8, 4 if directory.first(259) in _JPEG_IN_TIFF else 0)
    if 322 in directory.values:
        buffer_px = directory.first(322) * directory.first(323)
    else:
        buffer_px = width * min(height, directory.first(278, height))
    # A turn is made, and undone, with a copy each.
    per_px = held + max(held, _RGB) if turned else held
    return _Stored(width, height, per_px, int(buffer_px * in_buffer), is_turned=turned)


def _iso_media(bytes_per_px: float) -> Callable[[bytes], _Stored]:
    """The largest of the sizes that the boxes name: a picture of tiles names that of a tile as well."""

    def stored(data: bytes) -> _Stored:
        sizes = [
            struct.unpack_from(">II", data, found.end() + 4)
            for found in re.finditer(b"ispe", data[:_ISO_HEADER_BYTES])
        ]
        if not sizes:
            raise struct.error("no size is named")
        width, height = max(sizes, key=lambda size: int(size[0]) * int(size[1]))
        return _Stored(width, height, bytes_per_px)

    return stored


_READERS: dict[str, Callable[[bytes], _Stored]] = {
    "JPEG": _jpeg,
    "PNG": _png,
    "WEBP": _webp,
    "BMP": _bmp,
    "TIFF": _tiff,
    "GIF": _gif,
    "AVIF": _iso_media(_AVIF_BYTES_PER_PX),
    "HEIF": _iso_media(_HEIF_BYTES_PER_PX),
}
