"""Cutting a Parquet file into units by its footer: row groups together, or the rows of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow.parquet as pq

from pipeline.inputs.parquet_columns import find_image_column, no_image_column
from pipeline.inputs.units import Unit, UnitKind
from pipeline.storage import ObjectInfo, Storage
from pipeline.storage.object_file import PARQUET_ERRORS, open_parquet
from posrefine.errors import ObjectChanged, ObjectMissing, ObjectUnreadable, ShardError

__all__ = ["WITHOUT_IMAGES", "WITHOUT_ROWS", "cut_parquet"]

WITHOUT_IMAGES = ".parquet without images"
WITHOUT_ROWS = ".parquet without rows"

# Rows of a group are read from the group's beginning on, because Parquet keeps no index of them: every cut
# costs half the group in reading. So cuts are few, and by images more than by bytes.
_MOST_PIECES = 64
_UNITS_OF_BYTES_A_PIECE = 8


@dataclass(frozen=True)
class _RowGroups:
    indices: tuple[int, ...] = ()
    images: int = 0
    bytes: int = 0

    def __add__(self, other: _RowGroups) -> _RowGroups:
        return _RowGroups(self.indices + other.indices, self.images + other.images, self.bytes + other.bytes)


def cut_parquet(
    shard: ObjectInfo,
    storage: Storage,
    unit_images: int,
    unit_bytes: int,
    image_column: str | None,
    skipped: Counter[str],
    reasons: list[str],
) -> Iterator[Unit]:
    """Units of the file: consecutive small row groups together, large ones by rows.

    A file without a column of images is counted in `skipped`, unless `image_column` wants one; for the first
    of them `reasons` gets what was looked for. A file that cannot be opened, or is gone, is one unit without
    row groups, whose loading tells the reason.

    Raises:
        ConfigurationError: the column that `image_column` wants is not there.
    """
    try:
        groups = _measured(shard, storage, image_column, reasons)
    except (ShardError, ObjectMissing, ObjectChanged, ObjectUnreadable):
        yield _unit(shard, _RowGroups(bytes=shard.size_bytes))
        return
    if groups is None:
        skipped[WITHOUT_IMAGES] += 1
        return
    if not any(group.images for group in groups):
        skipped[WITHOUT_ROWS] += 1
    waiting = _RowGroups()
    for group in groups:
        together, pieces = waiting + group, _pieces(group, unit_images, unit_bytes)
        is_full = pieces > 1 or together.images > unit_images or together.bytes > unit_bytes
        if waiting.images and is_full:
            yield _unit(shard, waiting)
            together = group
        if pieces > 1:
            yield from _row_ranges(shard, group, pieces)
            together = _RowGroups()
        waiting = together
    if waiting.images:
        yield _unit(shard, waiting)


def _measured(
    shard: ObjectInfo, storage: Storage, image_column: str | None, reasons: list[str]
) -> list[_RowGroups] | None:
    """Each row group; None for a file without images."""
    file = open_parquet(storage, shard.uri, shard.size_bytes, shard.etag)
    try:
        if find_image_column(file.schema_arrow, image_column, shard.uri) is None:
            if not reasons:
                reasons.append(str(no_image_column(file.schema_arrow, None, shard.uri)))
            return None
        return [_measure(file.metadata, index, shard.uri) for index in range(file.metadata.num_row_groups)]
    except PARQUET_ERRORS as error:
        raise ShardError(f"{shard.uri}: has a broken footer: {error}; upload or write it again") from error


def _measure(footer: pq.FileMetaData, index: int, uri: str) -> _RowGroups:
    # Of all columns, uncompressed: pyarrow 26.0.1 ends the process over some broken descriptions of one.
    group = footer.row_group(index)
    if group.num_rows < 0:
        raise ShardError(f"{uri}: row group {index} has {group.num_rows} rows; upload or write it again")
    return _RowGroups((index,), group.num_rows, max(0, group.total_byte_size))


def _pieces(group: _RowGroups, unit_images: int, unit_bytes: int) -> int:
    wanted = max(-(-group.images // unit_images), -(-group.bytes // (unit_bytes * _UNITS_OF_BYTES_A_PIECE)))
    return min(wanted, group.images, _MOST_PIECES)


def _row_ranges(shard: ObjectInfo, group: _RowGroups, pieces: int) -> Iterator[Unit]:
    step = -(-group.images // pieces)
    for start in range(0, group.images, step):
        end = min(start + step, group.images)
        part = _RowGroups(group.indices, end - start, group.bytes * (end - start) // group.images)
        yield _unit(shard, part, start, end)


def _unit(
    shard: ObjectInfo, groups: _RowGroups, start_row: int | None = None, end_row: int | None = None
) -> Unit:
    return Unit(
        unit_id="",
        kind=UnitKind.PARQUET,
        uri=shard.uri,
        size_bytes=groups.bytes,
        image_count=groups.images,
        etag=shard.etag,
        shard_size_bytes=shard.size_bytes,
        row_groups=groups.indices,
        start_row=start_row,
        end_row=end_row,
    )
