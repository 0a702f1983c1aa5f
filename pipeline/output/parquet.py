"""Parquet files in memory: a unit's is encoded whole and put once, so that it is its own commit record."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.storage import Storage
from pipeline.storage.object_file import PARQUET_ERRORS, read_footer
from posrefine.errors import ShardError

__all__ = [
    "decode_stored",
    "decode_table",
    "encode_table",
    "open_stored",
    "read_stored_footer",
]

_RUN_ID = b"posrefine.run_id"


def encode_table(table: pa.Table, metadata: dict[bytes, bytes]) -> bytes:
    """`table` as a Parquet file (zstd) with `metadata` in its footer."""
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd")
    return sink.getvalue()


def decode_table(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """The table of a Parquet file in memory.

    Single-threaded, because pyarrow's threads can abort a short process at its exit.
    """
    return pq.read_table(
        io.BytesIO(data), columns=None if columns is None else list(columns), use_threads=False
    )


def open_stored(uri: str, data: bytes, columns: Sequence[str], run_id: str | None = None) -> pq.ParquetFile:
    """A run's Parquet file by its bytes, at least with the named columns.

    A part of a nested column is named by its path, such as `persons.list.element.score`.

    Args:
        uri: its address.
        data: the bytes.
        columns: that it must have.
        run_id: of the run whose file it must be; None: of any.

    Raises:
        ShardError: the bytes are no such file: it was cut, or something else lies at `uri`.
    """
    try:
        file = pq.ParquetFile(io.BytesIO(data))
        names = file.schema_arrow.names
    except PARQUET_ERRORS as error:
        raise _not_of_a_run(uri, str(error)) from error
    for name in {column.split(".")[0]: None for column in columns}:
        if names.count(name) != 1:
            raise _not_of_a_run(uri, f"{names.count(name)} columns named {name}, expected 1")
    _require_run(uri, file.schema_arrow.metadata, run_id)
    return file


def decode_stored(uri: str, data: bytes, columns: Sequence[str], run_id: str | None = None) -> pa.Table:
    """Some columns of a run's Parquet file, with its metadata, by its bytes.

    Arguments and errors are those of `open_stored`.
    """
    file = open_stored(uri, data, columns, run_id)
    try:
        return file.read(columns=list(columns), use_threads=False)
    except PARQUET_ERRORS as error:
        raise _not_of_a_run(uri, str(error)) from error


def read_stored_footer(
    storage: Storage, uri: str, size_bytes: int, etag: str, run_id: str
) -> dict[bytes, bytes]:
    """The key-value metadata of a run's Parquet file, from its end alone.

    Raises:
        ObjectChanged: it has not this etag any more.
        ShardError: it is no file of that run, or was cut.
    """
    try:
        metadata: dict[bytes, bytes] = read_footer(storage, uri, size_bytes, etag).metadata or {}
    except PARQUET_ERRORS as error:
        raise _not_of_a_run(uri, str(error)) from error
    _require_run(uri, metadata, run_id)
    return metadata


def _require_run(uri: str, metadata: Mapping[bytes, bytes] | None, run_id: str | None) -> None:
    found = (metadata or {}).get(_RUN_ID, b"").decode(errors="replace")
    if run_id not in (None, found):
        raise ShardError(
            f"{uri}: is of another run ({found or 'none'}, while the files beside it are of {run_id}); "
            "delete it and `run` again, which makes it anew"
        )


def _not_of_a_run(uri: str, reason: str) -> ShardError:
    return ShardError(
        f"{uri}: is no file that a run wrote, or was damaged since ({reason}); delete it and `run` again, "
        "which makes it anew"
    )
