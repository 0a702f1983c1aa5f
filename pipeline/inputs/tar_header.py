"""Headers of tar members: v7, ustar, GNU and PAX (POSIX.1-2001), and finding them in the middle of a tar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["BLOCK_BYTES", "Header", "header_positions", "parse_header", "parse_pax", "round_up"]

BLOCK_BYTES = 512

_WITHOUT_DATA = b"123456"
_EXTENSIONS = b"xXgLK"
_CHECKSUM = slice(148, 156)


@dataclass(frozen=True)
class Header:
    """One header block.

    Attributes:
        name: as stored, with the ustar prefix.
        kind: the type byte, `0` for a regular file in every format.
        data_bytes: bytes that follow the block, without filling.
    """

    name: bytes
    kind: bytes
    data_bytes: int

    @property
    def is_extension(self) -> bool:
        """Whether this header speaks about the next one (PAX records, GNU long names)."""
        return self.kind in _EXTENSIONS

    @property
    def span_bytes(self) -> int:
        """From this block to the one after its data."""
        return BLOCK_BYTES + round_up(self.data_bytes)


def round_up(size_bytes: int) -> int:
    """The next multiple of the block size."""
    return -(-size_bytes // BLOCK_BYTES) * BLOCK_BYTES


def parse_header(block: bytes) -> Header | None:
    """The header in a block of 512 bytes; None where its checksum or its numbers say that it is none."""
    stored, size_bytes = _number(block[_CHECKSUM]), _number(block[124:136])
    if stored is None or size_bytes is None or stored not in _checksums(block):
        return None
    name, kind = block[:100].partition(b"\0")[0], block[156:157]
    is_v7 = block[257:262] != b"ustar"
    if is_v7 and name.endswith(b"/"):  # its only mark of a directory; elsewhere a long name may be cut there
        kind = b"5"
    if kind in (b"\0", b"7"):
        kind = b"0"
    if block[257:263] == b"ustar\0" and (prefix := block[345:500].partition(b"\0")[0]):
        name = prefix + b"/" + name
    return Header(name, kind, 0 if kind in _WITHOUT_DATA else size_bytes)


def _number(field: bytes) -> int | None:
    """Octal digits, or big-endian binary behind a set top bit (GNU, for sizes from 8 GiB)."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if not digits:
        return 0
    return int(digits, 8) if all(byte in b"01234567" for byte in digits) else None


def _checksums(block: bytes) -> tuple[int, int]:
    """The sum of the bytes with the checksum's own field blank: unsigned, and signed as old writers took
    it."""
    blanked = block[:148] + b" " * 8 + block[156:]
    unsigned = sum(blanked)
    return unsigned, unsigned - 256 * sum(byte > 127 for byte in blanked)


def header_positions(data: bytes) -> list[int]:
    """Positions of all blocks of `data` (cut at multiples of 512) that are headers by checksum."""
    blocks = np.frombuffer(data, np.uint8, count=len(data) // BLOCK_BYTES * BLOCK_BYTES).reshape(
        -1, BLOCK_BYTES
    )
    field = blocks[:, _CHECKSUM]
    digits = (field >= ord("0")) & (field <= ord("7"))
    plausible = np.flatnonzero((digits | (field == 0) | (field == ord(" "))).all(axis=1) & digits.any(axis=1))
    # Sums of all of them at once: a block of data that happens to look plausible must cost next to nothing.
    found = blocks[plausible]
    stored = np.fromiter((_number(row.tobytes()) or 0 for row in found[:, _CHECKSUM]), np.int64, len(found))
    unsigned = (
        found.sum(axis=1, dtype=np.int64) - found[:, _CHECKSUM].sum(axis=1, dtype=np.int64) + 8 * ord(" ")
    )
    high = (found > 127).sum(axis=1) - (found[:, _CHECKSUM] > 127).sum(axis=1)
    agree = (stored == unsigned) | (stored == unsigned - 256 * high)
    return [
        int(row) * BLOCK_BYTES for row in plausible[agree] if parse_header(blocks[row].tobytes()) is not None
    ]


def parse_pax(payload: bytes) -> dict[bytes, bytes]:
    """The records (`length key=value`) of a PAX extended header; ValueError where they are malformed."""
    records, position = {}, 0
    while position < len(payload):
        length = int(payload[position : payload.index(b" ", position)])
        record = payload[position : position + length]
        if len(record) != length or not record.endswith(b"\n"):
            raise ValueError(f"record of {length} bytes at {position} of {len(payload)}")
        key, _, value = record[:-1].partition(b" ")[2].partition(b"=")
        records[key] = value
        position += length
    return records
