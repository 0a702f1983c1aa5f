"""Telling a cut image from a broken one by the lengths that its own format writes down."""

from __future__ import annotations

import struct
from collections.abc import Callable

from pipeline.images.tiff_directory import read_directory

__all__ = ["ends_early", "first_gif_frame_byte", "format_of"]


def format_of(data: bytes) -> str | None:
    """The format that the first bytes announce, fewer than a whole signature too, or None."""
    if data.startswith(b"RIFF") and not b"WEBP".startswith(data[8:12]):
        return None
    if data[4:8] == b"ftyp":
        return next((name for name, brands in _BRANDS.items() if data[8:12] in brands), None)
    for name, (signature, _) in _FORMATS.items():
        if data and data[: len(signature)] == signature[: len(data)]:
            return name
    return None


def ends_early(data: bytes) -> bool:
    """Whether an image that failed to decode has fewer bytes than its format says it should have."""
    name = format_of(data)
    if name is None:
        return False
    try:
        return _boxes(data) if name in _BRANDS else _FORMATS[name][1](data)
    except struct.error:
        return True


def _png(data: bytes) -> bool:
    position = 8
    while True:
        length, kind = struct.unpack_from(">I4s", data, position)
        position += 12 + length
        if kind == b"IEND" or position > len(data):
            return bool(position > len(data))


def _webp(data: bytes) -> bool:
    return bool(8 + struct.unpack_from("<I", data, 4)[0] > len(data))


def _bmp(data: bytes) -> bool:
    return bool(struct.unpack_from("<I", data, 2)[0] > len(data))


def first_gif_frame_byte(data: bytes) -> int:
    """Where the first frame's descriptor begins; `struct.error` where the data end before it."""
    position = 13 + _gif_colours(data, 10)
    while struct.unpack_from("B", data, position) == (0x21,):
        position = _gif_behind_blocks(data, position + 2)
    return position


def _gif(data: bytes) -> bool:
    """Whether the blocks end before the trailer."""
    position = 13 + _gif_colours(data, 10)
    while True:
        (kind,) = struct.unpack_from("B", data, position)
        if kind == 0x21:
            position = _gif_behind_blocks(data, position + 2)
        elif kind == 0x2C:
            position = _gif_behind_blocks(data, position + 11 + _gif_colours(data, position + 9))
        else:
            return False


def _gif_colours(data: bytes, flags_byte: int) -> int:
    """Bytes of the colour table that the flags at a position announce."""
    (flags,) = struct.unpack_from("B", data, flags_byte)
    return 3 << (flags % 8 + 1) if flags & 0x80 else 0


def _gif_behind_blocks(data: bytes, position: int) -> int:
    """The position behind a chain of data blocks."""
    while True:
        (length,) = struct.unpack_from("B", data, position)
        position += 1 + int(length)
        if length == 0:
            return position


def _jpeg(data: bytes) -> bool:
    return b"\xff\xd9" not in data


def _tiff(data: bytes) -> bool:
    """Whether the first directory, a value of it, or a strip or tile it points to lies behind the end."""
    return not read_directory(data).ends_within(len(data))


def _boxes(data: bytes) -> bool:
    """Whether the boxes of an ISO media file go on behind the end."""
    position = 0
    while position < len(data):
        (length,) = struct.unpack_from(">I", data, position)
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, position + 8)
        if length == 0:  # to the end of the file
            return False
        position += max(8, length)
    return position > len(data)


_BRANDS = {
    "AVIF": (b"avif", b"avis"),
    "HEIF": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
}
"""The first brand of ISO media files that hold a picture."""

_FORMATS: dict[str, tuple[bytes, Callable[[bytes], bool]]] = {
    "JPEG": (b"\xff\xd8\xff", _jpeg),
    "PNG": (b"\x89PNG\r\n\x1a\n", _png),
    "WEBP": (b"RIFF", _webp),
    "BMP": (b"BM", _bmp),
    "TIFF": (b"II*\0", _tiff),
    "TIFF (big-endian)": (b"MM\0*", _tiff),
    "BigTIFF": (b"II+\0", _tiff),
    "BigTIFF (big-endian)": (b"MM\0+", _tiff),
    "GIF": (b"GIF8", _gif),
}
