"""A PNG rewritten with nothing in it but what its pixels and its orientation need.

A colour profile of 2 MB, a megabyte of compressed text or a damaged time stamp say nothing about pixels, and
yet decoders fail a picture by them, or inflate them without bound. Chunks that are no part of the picture are
left out before a decoder sees them. As libpng does, a chunk that a picture can do without counts as absent
where its checksum is wrong.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

__all__ = ["PNG_SIGNATURE", "plain_png"]

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_OPTIONAL = 0x20
"""The bit of a chunk's first letter that says that a picture can do without it."""

_KEPT = {b"eXIf", b"tRNS"}
# An orientation needs a few dozen bytes; embedded thumbnails come to 64 kB.
_LARGEST_OPTIONAL_BYTES = 2**20


def plain_png(data: bytes) -> bytes:
    """The file without metadata; from a chunk that is cut on it stays as it is, for the decoder to judge."""
    return b"".join([PNG_SIGNATURE, *_kept(memoryview(data))])


def _kept(data: memoryview) -> Iterator[memoryview]:
    position = len(PNG_SIGNATURE)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if end > len(data):
            break
        if not kind[0] & _OPTIONAL or _is_wanted(kind, data[position:end]):
            yield data[position:end]
        position = end
        if kind == b"IEND":
            return
    yield data[position:]


def _is_wanted(kind: bytes, chunk: memoryview) -> bool:
    if kind not in _KEPT or len(chunk) > _LARGEST_OPTIONAL_BYTES:
        return False
    return zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big")
