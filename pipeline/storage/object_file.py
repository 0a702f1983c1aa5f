"""A stored object as a file that pyarrow can read, by ranged reads."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage.storage import Storage
from posrefine.errors import ShardError

__all__ = ["PARQUET_ERRORS", "ObjectFile", "damage_named", "open_parquet", "read_footer"]

PARQUET_ERRORS = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What pyarrow raises over a damaged file; names and texts that are no UTF-8 only when they are looked at."""

_SMALL_BYTES = 2**20
_FOOTER_GUESS_BYTES = 2**14
_TRAILER_BYTES = 8


class ObjectFile(io.RawIOBase):
    """Read-only and seekable; each read is one ranged read of the object whose etag is pinned.

    A small object is read whole at the first read: a request costs more than its bytes.
    """

    def __init__(self, storage: Storage, uri: str, size_bytes: int, etag: str | None) -> None:
        super().__init__()
        self._storage, self._uri, self._size_bytes, self._etag = storage, uri, size_bytes, etag
        self._position = 0
        self._whole: bytes | None = None

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position of the next read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size_bytes}[whence]
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes; fewer than `size` only at the end."""
        end = self._size_bytes if size is None or size < 0 else min(self._size_bytes, self._position + size)
        data = self._range(self._position, end)
        self._position += len(data)
        return data

    def _range(self, start: int, end: int) -> bytes:
        if self._size_bytes > _SMALL_BYTES:
            return self._storage.read_range(self._uri, start, end, self._etag)
        if self._whole is None:
            self._whole = self._storage.read_range(self._uri, 0, self._size_bytes, self._etag)
        return self._whole[start:end]


def open_parquet(
    storage: Storage,
    uri: str,
    size_bytes: int,
    etag: str | None,
    metadata: pq.FileMetaData | None = None,
    *,
    buffer_bytes: int = 0,
) -> pq.ParquetFile:
    """Open a stored Parquet file; `ShardError` for one whose footer cannot be read.

    With `buffer_bytes`, columns are read in pieces of that size, so that iterating over the batches of a row
    group does not hold the group; else each column of a row group is read whole.
    """
    file = ObjectFile(storage, uri, size_bytes, etag)
    try:
        return pq.ParquetFile(file, metadata=metadata, buffer_size=buffer_bytes, pre_buffer=False)
    except PARQUET_ERRORS as error:
        raise ShardError(f"{uri}: is no readable Parquet file: {error}; upload or write it again") from error


@contextmanager
def damage_named(uri: str) -> Iterator[None]:
    """What pyarrow raises over a damaged file in the block is a `ShardError` that names the file."""
    try:
        yield
    except PARQUET_ERRORS as error:
        raise ShardError(
            f"{uri}: was damaged: {error}; put it back from a copy, or write it again"
        ) from error


def read_footer(storage: Storage, uri: str, size_bytes: int, etag: str | None) -> pq.FileMetaData:
    """The footer of a stored Parquet file, by reading its end alone: once, or twice where it is long.

    Raises:
        PARQUET_ERRORS: there is none.
        StorageError: it cannot be read; `ObjectChanged` where it has not this etag any more.
    """
    start = max(0, size_bytes - _FOOTER_GUESS_BYTES)
    end = storage.read_range(uri, start, size_bytes, etag)
    length = int.from_bytes(end[-_TRAILER_BYTES:-4], "little") + _TRAILER_BYTES
    if len(end) < length <= size_bytes and end.endswith(b"PAR1"):
        end = storage.read_range(uri, size_bytes - length, start, etag) + end
    return pq.read_metadata(io.BytesIO(end))
