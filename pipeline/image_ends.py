"""Telling a cut image from a broken one by the lengths that its own format writes down."""

from __future__ import annotations

import struct
from collections.abc import Callable

__all__ = ["ends_early", "format_of"]


def format_of(data: bytes) -> str | None:
    """The format that the first bytes announce, fewer than a whole signature too, or None."""
    if data.startswith(b"RIFF") and not b"WEBP".startswith(data[8:12]):
        return None
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
        return _FORMATS[name][1](data)
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
    order = "<" if data.startswith(b"II") else ">"
    (directory,) = struct.unpack_from(f"{order}I", data, 4)
    (entries,) = struct.unpack_from(f"{order}H", data, directory)
    struct.unpack_from(f"{order}I", data, directory + 2 + 12 * entries)
    values = dict(_tiff_value(data, order, directory + 2 + 12 * entry) for entry in range(entries))
    offsets, lengths = (
        values.get(strips) or values.get(tiles, ()) for strips, tiles in ((273, 324), (279, 325))
    )
    return any(offset + length > len(data) for offset, length in zip(offsets, lengths, strict=False))


def _tiff_value(data: bytes, order: str, position: int) -> tuple[int, tuple[int, ...]]:
    """One directory entry as tag and numbers; only the integers that offsets and lengths come in are
    spelled out."""
    tag, kind, count = struct.unpack_from(f"{order}HHI", data, position)
    size_bytes, position = count * _TIFF_SIZES.get(kind, 0), position + 8
    if size_bytes > 4:
        (position,) = struct.unpack_from(f"{order}I", data, position)
    if position + size_bytes > len(data):
        raise struct.error("a value lies behind the end")
    code = {3: "H", 4: "I"}.get(kind)
    return tag, struct.unpack_from(f"{order}{count}{code}", data, position) if code else ()


_TIFF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}

_FORMATS: dict[str, tuple[bytes, Callable[[bytes], bool]]] = {
    "JPEG": (b"\xff\xd8\xff", _jpeg),
    "PNG": (b"\x89PNG\r\n\x1a\n", _png),
    "WEBP": (b"RIFF", _webp),
    "BMP": (b"BM", _bmp),
    "TIFF": (b"II*\0", _tiff),
    "TIFF (big-endian)": (b"MM\0*", _tiff),
    "GIF": (b"GIF8", _gif),
}
