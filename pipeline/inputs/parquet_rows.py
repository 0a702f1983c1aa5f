"""The rows of a unit of a Parquet file: encoded image and key of each, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.inputs.parquet_columns import find_key_column, key_text, require_image_column
from pipeline.inputs.units import Unit
from pipeline.storage import Storage
from pipeline.storage.object_file import PARQUET_ERRORS, open_parquet
from posrefine.errors import ShardError

__all__ = ["ParquetRow", "iter_parquet_rows"]

_BUFFER_BYTES = 16 * 2**20
_BATCH_ROWS = 16
# Ten million nulls are a few kilobytes: going through them by 16 would take minutes.
_TINY_GROUP_BYTES = 2**20
_TINY_BATCH_ROWS = 256


@dataclass(frozen=True)
class ParquetRow:
    """One row: key, address of the row, and encoded bytes, None where it holds none."""

    key: str
    uri: str
    data: bytes | None


def iter_parquet_rows(
    unit: Unit, storage: Storage, image_column: str | None, key_column: str | None
) -> Iterator[ParquetRow]:
    """Every row of the unit, in order.

    Raises:
        ConfigurationError: a column that was named is not there.
        ShardError: the file, its footer or a row group cannot be read; it may come after the last row.
    """
    size_bytes = unit.shard_size_bytes or 0
    file = open_parquet(storage, unit.uri, size_bytes, unit.etag, buffer_bytes=_BUFFER_BYTES)
    image_name = require_image_column(file.schema_arrow, image_column, unit.uri)
    key_name = find_key_column(file.schema_arrow, key_column, unit.uri)
    if not unit.row_groups:
        raise ShardError(f"{unit.uri}: could not be read when the run was planned; start a new run for it")
    for group in unit.row_groups:
        rows_before = sum(file.metadata.row_group(index).num_rows for index in range(group))
        start, end = unit.start_row or 0, unit.end_row
        if end is None:
            end = file.metadata.row_group(group).num_rows
        cells = _iter_cells(file, group, start, end, image_name, key_name, unit.uri)
        for row, (image, key) in enumerate(cells, start=rows_before + start):
            yield _row(f"{unit.uri}#{row}", image, key)


def _iter_cells(
    file: pq.ParquetFile,
    group: int,
    start: int,
    end: int,
    image_column: str,
    key_column: str | None,
    uri: str,
) -> Iterator[tuple[Any, Any]]:
    """Image cell and key cell of the rows [start, end) of a row group."""
    columns = [image_column] if key_column is None else [image_column, key_column]
    is_tiny = file.metadata.row_group(group).total_byte_size <= _TINY_GROUP_BYTES
    batch_rows = _TINY_BATCH_ROWS if is_tiny else _BATCH_ROWS
    row = 0
    try:
        for batch in file.iter_batches(batch_rows, [group], columns, use_threads=False):
            first = min(max(0, start - row), len(batch))
            wanted = batch.slice(first, max(0, end - row - first))
            images = wanted.column(image_column)
            keys = wanted.column(key_column) if key_column else pa.nulls(len(images))
            for image, key in zip(images, keys, strict=True):
                yield image.as_py(), key.as_py()
            row += len(batch)
            if row >= end:
                return
    except PARQUET_ERRORS as error:
        raise ShardError(
            f"{uri}: row group {group} cannot be read: {error}; write or upload it again"
        ) from error
    if row < end:
        raise ShardError(f"{uri}: row group {group} ends after {row} of {end} rows; write or upload it again")


def _row(uri: str, image: dict[str, Any] | bytes | None, key: object) -> ParquetRow:
    data, path = (image.get("bytes"), image.get("path")) if isinstance(image, dict) else (image, None)
    name = next((key_text(given) for given in (key, path) if given is not None), uri.rpartition("/")[2])
    return ParquetRow(name, uri, data)
