"""The rows of a unit of a Parquet file: encoded image and key of each, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.inputs.parquet_columns import find_key_column, key_text, require_image_column
from pipeline.inputs.row_groups import RowGroup, row_groups_of
from pipeline.inputs.units import Unit
from pipeline.storage import Storage
from pipeline.storage.object_file import PARQUET_ERRORS, open_parquet
from posrefine.errors import ShardError

__all__ = ["ParquetRow", "iter_parquet_rows", "read_image_cell"]

_BUFFER_BYTES = 16 * 2**20
_BATCH_BYTES = 256 * 2**20
_MOST_BATCH_ROWS = 64
# Of a column that is a dictionary in memory, too, each batch brings the whole dictionary along.
_BATCH_ROWS_OF_DICTIONARY = 1024
# A row group that really holds more than this is nobody's; one that repeats a value of megabytes for millions
# of rows is a file of a few kilobytes.
_MOST_BYTES_OF_A_GROUP = 2**36


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
    groups = row_groups_of(file.metadata, unit.uri, size_bytes)
    if not unit.row_groups:
        raise ShardError(f"{unit.uri}: could not be read when the run was planned; start a new run for it")
    first_rows = list(accumulate((group.rows for group in groups), initial=0))
    for index in unit.row_groups:
        start, end = unit.start_row or 0, groups[index].rows if unit.end_row is None else unit.end_row
        if start == end:
            continue
        cells = _iter_cells(file, groups[index], start, end, image_name, key_name, unit.uri)
        for row, (image, key) in enumerate(cells, start=first_rows[index] + start):
            yield _row(f"{unit.uri}#{row}", image, key)


def read_image_cell(
    file: pq.ParquetFile, group: RowGroup, row: int, image_column: str, uri: str
) -> dict[str, Any] | bytes | None:
    """The image cell of one row of a row group, as it is stored; the group is not held.

    Raises:
        ShardError: the row group cannot be read.
    """
    image: dict[str, Any] | bytes | None
    image, _ = next(_iter_cells(file, group, row, row + 1, image_column, None, uri))
    return image


def _iter_cells(
    file: pq.ParquetFile,
    group: RowGroup,
    start: int,
    end: int,
    image_column: str,
    key_column: str | None,
    uri: str,
) -> Iterator[tuple[Any, Any]]:
    """Image cell and key cell of the rows [start, end) of a row group."""
    columns = [image_column] if key_column is None else [image_column, key_column]
    row = size_bytes = 0
    try:
        batch_rows = _batch_rows(group, file.schema_arrow.field(image_column).type)
        for batch in file.iter_batches(batch_rows, [group.index], columns, use_threads=False):
            size_bytes += _bytes_of_values(batch.column(image_column))
            if size_bytes > _MOST_BYTES_OF_A_GROUP:
                raise ShardError(
                    f"{uri}: row group {group.index} repeats its values, to over {_MOST_BYTES_OF_A_GROUP:,} "
                    f"bytes by its row {row + len(batch)}; write each image once"
                )
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
            f"{uri}: row group {group.index} cannot be read: {error}; write or upload it again"
        ) from error
    if row < end:
        raise ShardError(
            f"{uri}: row group {group.index} ends after {row} of {end} rows; write or upload it again"
        )


def _bytes_of_values(column: pa.Array) -> int:
    """Of all rows; of a dictionary, whose values every batch brings along, those that its rows name."""
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    try:
        lengths = pc.binary_length(column.dictionary)
    except pa.ArrowNotImplementedError:
        return int(column.indices.nbytes)
    return int(pc.sum(lengths.take(column.indices)).as_py() or 0)


def _batch_rows(group: RowGroup, kind: pa.DataType) -> int:
    """Rows that are taken at once: few of a large group, each of whose rows may be the same large value."""
    if pa.types.is_dictionary(kind):
        return _BATCH_ROWS_OF_DICTIONARY
    return max(1, min(_MOST_BATCH_ROWS, _BATCH_BYTES // max(1, group.size_bytes)))


def _row(uri: str, image: dict[str, Any] | bytes | None, key: object) -> ParquetRow:
    data, path = (image.get("bytes"), image.get("path")) if isinstance(image, dict) else (image, None)
    name = next((key_text(given) for given in (key, path) if given is not None), uri.rpartition("/")[2])
    return ParquetRow(name, uri, data)
