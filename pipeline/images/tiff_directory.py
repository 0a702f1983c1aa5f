"""What the first directory of a TIFF or BigTIFF tells, without decoding anything (TIFF 6.0)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
_NUMBERS = {3: "u2", 4: "u4", 13: "u4", 16: "u8", 18: "u8"}
_NONE = np.zeros(0, np.uint64)


@dataclass(frozen=True)
class TiffDirectory:
    """The numbers of the tags that say where samples lie and how many there are, by tag."""

    values: dict[int, NDArray[np.unsignedinteger]]

    def ends_within(self, size_bytes: int) -> bool:
        """Whether every strip or tile lies within so many bytes."""
        offsets, lengths = (self._of_either(*tags).astype(np.uint64) for tags in ((273, 324), (279, 325)))
        count = min(len(offsets), len(lengths))
        starts, size = np.minimum(offsets[:count], size_bytes), np.uint64(size_bytes)
        return bool(((offsets[:count] <= size) & (lengths[:count] <= size - starts)).all())

    def first(self, tag: int, default: int = 0) -> int:
        """The first number of a tag, or the default where the tag is absent."""
        numbers = self.values.get(tag, _NONE)
        return int(numbers[0]) if len(numbers) else default

    def _of_either(self, strips: int, tiles: int) -> NDArray[np.unsignedinteger]:
        found = self.values.get(strips, _NONE)
        return found if len(found) else self.values.get(tiles, _NONE)


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
    # Of an entry only where its numbers lie is taken: thousands of entries may name the same megabytes.
    found = dict(_entry(data, order, word, first + step * entry) for entry in range(entries))
    return TiffDirectory(
        {
            tag: np.frombuffer(data, order + _NUMBERS[kind], count, position) if kind in _NUMBERS else _NONE
            for tag, (kind, count, position) in found.items()
            if tag in _WANTED
        }
    )


def _entry(data: bytes, order: str, word: str, position: int) -> tuple[int, tuple[int, int, int]]:
    """Tag, and kind, number and position of its values; only integers are offsets and sizes."""
    tag, kind, count = struct.unpack_from(f"{order}HH{word}", data, position)
    inline = struct.calcsize(f"={word}")
    size_bytes, position = count * _SIZES.get(kind, 0), position + 4 + inline
    if size_bytes > inline:
        (position,) = struct.unpack_from(f"{order}{word}", data, position)
    if position + size_bytes > len(data):
        raise struct.error("a value lies behind the end")
    return tag, (kind, count, position)
