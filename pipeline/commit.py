"""Commit of a unit: its Parquet file is encoded in memory and put once, so it is its own commit record."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.parquet as pq

__all__ = ["COMMITTED_AT", "decode_table", "encode_table"]

COMMITTED_AT = b"posrefine.committed_at"
"""Key of the time of commit, ISO 8601, in the metadata of a unit's file."""


def encode_table(table: pa.Table, metadata: dict[bytes, bytes]) -> bytes:
    """`table` as a Parquet file (zstd) with `metadata` in its footer."""
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), sink, compression="zstd")
    return sink.getvalue()


def decode_table(data: bytes, columns: list[str] | None = None) -> pa.Table:
    """The table of a Parquet file in memory.

    Single-threaded, because pyarrow's threads can abort a short process at its exit.
    """
    return pq.read_table(io.BytesIO(data), columns=columns, use_threads=False)
