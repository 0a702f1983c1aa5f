"""What the first directory of a TIFF or BigTIFF tells, without decoding anything (TIFF 6.0)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = ["TiffDirectory", "read_directory"]

# Width, height, bits, compression, colours, strips, samples, rows of a strip, lengths, size of tiles, tiles.
_WANTED = {256, 257, 258, 259, 262, 273, 274, 277, 278, 279, 322, 323, 324, 325}
_SIZES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
_CODES = {3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}


@dataclass(frozen=True)
class TiffDirectory:
    """The numbers of the tags that say where samples lie and how many there are, by tag."""

    values: dict[int, tuple[int, ...]]

    @property
    def strips(self) -> list[tuple[int, int]]:
        """Offset and length in bytes of every strip or tile."""
        offsets = self.values.get(273) or self.values.get(324, ())
        lengths = self.values.get(279) or self.values.get(325, ())
        return list(zip(offsets, lengths, strict=False))

    def first(self, tag: int, default: int = 0) -> int:
        """The first number of a tag, or the default where the tag is absent."""
        return next(iter(self.values.get(tag, ())), default)


def read_directory(data: bytes) -> TiffDirectory:
    """The first directory; `struct.error` where it, or a value of it, lies behind the end of the data."""
    order = "<" if data.startswith(b"II") else ">"
    (version,) = struct.unpack_from(f"{order}H", data, 2)
    start, count, step, word = (8, "Q", 20, "Q") if version == 43 else (4, "H", 12, "I")
    (directory,) = struct.unpack_from(f"{order}{word}", data, start)
    (entries,) = struct.unpack_from(f"{order}{count}", data, directory)
    first = directory + struct.calcsize(f"={count}")
    if entries > len(data) // step:
        raise struct.error("the directory lies behind the end")
    struct.unpack_from(f"{order}{word}", data, first + step * entries)
    entered = (_value(data, order, word, first + step * entry) for entry in range(entries))
    return TiffDirectory({tag: numbers for tag, numbers in entered if tag in _WANTED})


def _value(data: bytes, order: str, word: str, position: int) -> tuple[int, tuple[int, ...]]:
    """One entry as tag and numbers; only the integers that offsets and sizes come in are spelled out."""
    tag, kind, count = struct.unpack_from(f"{order}HH{word}", data, position)
    inline = struct.calcsize(f"={word}")
    size_bytes, position = count * _SIZES.get(kind, 0), position + 4 + inline
    if size_bytes > inline:
        (position,) = struct.unpack_from(f"{order}{word}", data, position)
    if position + size_bytes > len(data):
        raise struct.error("a value lies behind the end")
    code = _CODES.get(kind) if tag in _WANTED else None
    return tag, struct.unpack_from(f"{order}{count}{code}", data, position) if code else ()
