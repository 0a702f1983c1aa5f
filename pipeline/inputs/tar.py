"""The members of a byte range of a tar, so that a big tar splits into units without an index.

A range [start, end) holds the members whose first header begins in it; a PAX or GNU long-name header comes
before its member's own and is its first. Ranges that cover a tar give each member exactly once.

In the middle of a tar a header is known by its checksum. That alone can be fooled: the data of a member may
itself hold headers (a tar inside the tar). So whoever reads a range follows the members from its first
header on, and at its end makes sure that a reader of the next range, searching from `end`, finds the very
header this chain leads to. The chain of the first range begins at byte 0 and is right; each range that is
read without an error proves the next one's beginning; so when all ranges are done, all were right. A split
that falls into a nested tar is a `ShardError`.

The end-of-archive mark is checked: a chain that runs into the end of the object without a block of zeros is a
`ShardError`, because a tar cut between two members looks complete otherwise. One block is enough, for then no
member can be lost. Members behind a mark (concatenated tars) are read, as `tar --ignore-zeros` does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from pipeline.inputs.tar_header import (
    BLOCK_BYTES,
    Header,
    header_positions,
    parse_header,
    parse_pax,
    round_up,
)
from posrefine.errors import ShardError

__all__ = ["LOOK_BACK_BYTES", "ByteSource", "TarMember", "iter_members"]

LOOK_BACK_BYTES = 256 * 1024
"""How far before `start` a reader looks for an extended header whose member lies behind `start`."""

_SCAN_BYTES = 4 * 2**20
_GZIP = b"\x1f\x8b"
_ZEROS = bytes(BLOCK_BYTES)
_MAX_SIZE_DIGITS = 20
# Of one member: a PAX header, long names and a sparse map are some kilobytes. What leads further has no end
# that is worth looking for, and each range that is begun in it would look for it again.
_MOST_EXTENDED_BYTES = 4 * LOOK_BACK_BYTES
_KINDS = {b"0": "file", b"1": "link", b"2": "link", b"5": "directory"}


class ByteSource(Protocol):
    """Random access to the bytes of one object."""

    uri: str
    size_bytes: int

    def read(self, position: int, length: int) -> bytes:
        """Bytes [position, position + length), fewer only at the end of the object."""


@dataclass(frozen=True)
class TarMember:
    """One member.

    Attributes:
        name: as stored; bytes that are not UTF-8 are written as \\xNN.
        kind: file, link, directory, sparse or other.
        header_byte: where its first header begins; unique in the tar.
        data_byte: where its data begins.
        data_bytes: length of its data.
        is_cut: the tar ends before the data does.
    """

    name: str
    kind: str
    header_byte: int
    data_byte: int
    data_bytes: int
    is_cut: bool


def iter_members(source: ByteSource, start: int, end: int) -> Iterator[TarMember]:
    """The members whose first header begins in [start, end), in order.

    A member that the end of the tar cuts comes last, marked `is_cut`. Raises `ShardError` for a tar without
    an end-of-archive mark, for bytes that are no header where one must be, and for a split inside a nested
    tar; it may come after the last member, so nothing of a range counts before the iteration has ended.
    """
    first = _first_header(source, start, end)
    if first is None:
        return
    chain, position = {first}, first
    while position < end:
        group = _read_group(source, position)
        if group is None:
            position = _behind_zeros(source, position, end)
            if position >= source.size_bytes:
                return
            chain.add(position)
            continue
        yield group.member
        if group.member.is_cut:
            return
        position = group.next_byte
        chain.update((*group.headers, position))
    _require_header_or_mark(source, position)
    _require_next_range_agrees(source, chain, first, end, position)


@dataclass(frozen=True)
class _Group:
    """A member with the headers that belong to it."""

    member: TarMember
    headers: tuple[int, ...]
    next_byte: int


def _first_header(source: ByteSource, start: int, end: int) -> int | None:
    """The first header of the range's first member; None if no member begins in the range."""
    if start == 0:
        return 0
    continued = {
        position + header.span_bytes
        for position, header in _headers_between(source, max(0, start - LOOK_BACK_BYTES), start)
        if header.is_extension
    }
    # One pass over the range, whatever it holds: starting to search again behind every extended header would
    # take time that grows with the square of their number.
    behind = start
    for position, header in _headers_between(source, start, end):
        if position < behind:
            continue
        if position not in continued:
            return position
        behind = position + header.span_bytes
        if header.is_extension:
            continued.add(behind)
    return None


def _headers_between(source: ByteSource, low: int, high: int) -> Iterator[tuple[int, Header]]:
    """Everything in [low, high) that looks like a header, true or not."""
    for position in range(round_up(low), high, _SCAN_BYTES):
        length = min(_SCAN_BYTES, round_up(high - position))
        data = source.read(position, length)
        for offset in header_positions(data):
            header = parse_header(data[offset : offset + BLOCK_BYTES])
            if header is not None:
                yield position + offset, header


def _read_group(source: ByteSource, first: int) -> _Group | None:
    """The member whose first header is at `first`; None where there is a block of zeros instead."""
    headers: list[int] = []
    records: dict[bytes, bytes] = {}
    position = first
    while True:
        block = source.read(position, BLOCK_BYTES)
        if block == _ZEROS and not headers:
            return None
        header = parse_header(block) if len(block) == BLOCK_BYTES else None
        if header is None:
            raise _no_header(source, position, block)
        headers.append(position)
        if not header.is_extension:
            return _group(source, headers, header, records)
        records |= _read_extension(source, position, header)
        position += header.span_bytes
        if position - first > _MOST_EXTENDED_BYTES:
            raise ShardError(
                f"{source.uri}: the extended headers at byte {first} go on for over {_MOST_EXTENDED_BYTES} "
                "bytes without a member; write or upload the tar again"
            )


def _read_extension(source: ByteSource, position: int, header: Header) -> dict[bytes, bytes]:
    if header.span_bytes > LOOK_BACK_BYTES:
        raise ShardError(
            f"{source.uri}: extended header of {header.data_bytes} bytes at byte {position}; at most "
            f"{LOOK_BACK_BYTES - BLOCK_BYTES} can be read; write the tar again without extended attributes"
        )
    payload = source.read(position + BLOCK_BYTES, header.data_bytes)
    if len(payload) < header.data_bytes:
        raise _no_header(source, position, payload)
    if header.kind == b"K":
        return {}
    if header.kind == b"L":
        return {b"path": payload.partition(b"\0")[0]}
    try:
        records = parse_pax(payload)
        _pax_size(records)
    except ValueError as error:
        raise ShardError(f"{source.uri}: PAX header at byte {position} is malformed: {error}") from error
    if header.kind == b"g" and records.keys() & {b"path", b"size"}:
        raise ShardError(
            f"{source.uri}: the global PAX header at byte {position} renames or resizes all later members, "
            "which a tar read in ranges cannot have; write the tar again"
        )
    return records


def _pax_size(records: dict[bytes, bytes]) -> int:
    """The member's size by its PAX records, 0 where they name none; ValueError unless it is a plain number.

    A size below zero would lead from a member back to an earlier one, round and round.
    """
    size = records.get(b"size", b"0")
    if not (size.isdigit() and len(size) <= _MAX_SIZE_DIGITS):
        raise ValueError(f"size of {size[:32]!r}, wanted decimal digits")
    return int(size)


def _group(source: ByteSource, headers: list[int], header: Header, records: dict[bytes, bytes]) -> _Group:
    data_byte = headers[-1] + BLOCK_BYTES
    is_sparse = header.kind == b"S" or any(key.startswith(b"GNU.sparse.") for key in records)
    if header.kind == b"S":
        data_byte = _behind_sparse_map(source, headers[-1])
    data_bytes = header.data_bytes
    if b"size" in records and header.kind == b"0":
        data_bytes = _pax_size(records)
    name = records.get(b"GNU.sparse.name", records.get(b"path", header.name))
    member = TarMember(
        name=name.decode("utf-8", "backslashreplace"),
        kind="sparse" if is_sparse else _KINDS.get(header.kind, "other"),
        header_byte=headers[0],
        data_byte=data_byte,
        data_bytes=data_bytes,
        is_cut=data_byte + data_bytes > source.size_bytes,
    )
    return _Group(member, tuple(headers), data_byte + round_up(data_bytes))


def _behind_sparse_map(source: ByteSource, position: int) -> int:
    """Where the data of a GNU sparse member begins: its map goes on in blocks while a flag says so."""
    more, behind = source.read(position + 482, 1), position + BLOCK_BYTES
    while more == b"\1":
        if behind - position > _MOST_EXTENDED_BYTES:
            raise ShardError(
                f"{source.uri}: the map of the sparse member at byte {position} goes on for over "
                f"{_MOST_EXTENDED_BYTES} bytes; write the tar without sparse files"
            )
        more, behind = source.read(behind + 504, 1), behind + BLOCK_BYTES
    return behind


def _behind_zeros(source: ByteSource, position: int, end: int) -> int:
    """The first block from `position` on that is not zeros; the end of the range or object if there is
    none."""
    while position < min(end, source.size_bytes):
        data = source.read(position, 64 * 1024)
        used = len(data) - len(data.lstrip(b"\0"))
        position += used // BLOCK_BYTES * BLOCK_BYTES if used < len(data) else len(data)
        if used < len(data):
            break
    return position


def _require_header_or_mark(source: ByteSource, position: int) -> None:
    """What a chain leads to, where it leaves its range, must be another header or the end-of-archive mark."""
    block = source.read(position, BLOCK_BYTES)
    if len(block) < BLOCK_BYTES or (block != _ZEROS and parse_header(block) is None):
        raise _no_header(source, position, block)


def _require_next_range_agrees(
    source: ByteSource, chain: set[int], first: int, end: int, position: int
) -> None:
    """Prove that a search from `end` is led to `position` by nothing but headers of this chain."""
    if end >= source.size_bytes:
        return
    for found, header in _headers_between(source, max(first, end - LOOK_BACK_BYTES), position):
        misleads = found >= end or (header.is_extension and found + header.span_bytes >= end)
        if misleads and found not in chain:
            raise ShardError(
                f"{source.uri}: the data at byte {found} is a tar inside the tar, and the split at byte "
                f"{end} falls into it; annotate it with --no-split-tars, or leave such members out"
            )


def _no_header(source: ByteSource, position: int, block: bytes) -> ShardError:
    if position == 0 and block.startswith(_GZIP):
        return ShardError(f"{source.uri}: gzip data, though it is called a tar; unpack it with gunzip first")
    if len(block) < BLOCK_BYTES or position >= source.size_bytes:
        return ShardError(
            f"{source.uri}: ends at byte {source.size_bytes} without an end-of-archive mark, so members may "
            "be missing; write or upload the tar again (if it is known to be whole, append 1024 zero bytes)"
        )
    return ShardError(
        f"{source.uri}: a member header must be at byte {position}, found {block[:16]!r}...; the tar is "
        "damaged; write or upload it again"
    )
