"""The row groups of a Parquet file by its footer, refused where no file of images has such ones."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.parquet as pq

from pipeline.storage.object_file import PARQUET_ERRORS
from posrefine.errors import ShardError

__all__ = ["RowGroup", "row_groups_of"]

# A byte or two may be a thousand nulls. More rows than these are nobody's images, and would be units without
# end: pyarrow writes 2**20 rows into a group at most.
_MOST_ROWS_OF_A_GROUP = 2**24
_MOST_ROWS_OF_A_BYTE = 64


@dataclass(frozen=True)
class RowGroup:
    """One row group.

    Attributes:
        index: in the file.
        rows: in it.
        size_bytes: of all its columns, uncompressed; a value that a dictionary shares counts once.
    """

    index: int
    rows: int
    size_bytes: int


def row_groups_of(footer: pq.FileMetaData, uri: str, file_bytes: int) -> list[RowGroup]:
    """All row groups of a file of `file_bytes`, those without rows too.

    Raises:
        ShardError: the footer is broken, or claims a number of rows that no file of images has.
    """
    try:
        groups = [_row_group(footer, index, uri) for index in range(footer.num_row_groups)]
    except PARQUET_ERRORS as error:
        raise ShardError(f"{uri}: has a broken footer: {error}; upload or write it again") from error
    rows, most = (
        sum(group.rows for group in groups),
        max(_MOST_ROWS_OF_A_GROUP, _MOST_ROWS_OF_A_BYTE * file_bytes),
    )
    if rows > most:
        raise ShardError(
            f"{uri}: claims {rows:,} rows in {file_bytes:,} bytes, at most {most:,} are read; write it again "
            "without the rows that hold no images"
        )
    return groups


def _row_group(footer: pq.FileMetaData, index: int, uri: str) -> RowGroup:
    # Of all columns, uncompressed: pyarrow 26.0.1 ends the process over some broken descriptions of one.
    group = footer.row_group(index)
    if not 0 <= group.num_rows <= _MOST_ROWS_OF_A_GROUP:
        raise ShardError(
            f"{uri}: row group {index} has {group.num_rows:,} rows, 0 to {_MOST_ROWS_OF_A_GROUP:,} are read; "
            "write it again in smaller row groups, or upload it again"
        )
    return RowGroup(index, group.num_rows, max(0, group.total_byte_size))
