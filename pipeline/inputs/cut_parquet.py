"""Cutting a Parquet file into units by its footer: row groups together, or the rows of one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from pipeline.inputs.parquet_columns import find_image_column, no_image_column
from pipeline.inputs.row_groups import RowGroup, row_groups_of
from pipeline.inputs.units import Unit, UnitKind
from pipeline.storage import ObjectInfo, Storage
from pipeline.storage.object_file import PARQUET_ERRORS, open_parquet
from posrefine.errors import ObjectChanged, ObjectMissing, ObjectUnreadable, ShardError

__all__ = ["WITHOUT_IMAGES", "WITHOUT_ROWS", "cut_parquet"]

WITHOUT_IMAGES = ".parquet without images"
WITHOUT_ROWS = ".parquet without rows"

# Rows of a group are read from the group's beginning on, because Parquet keeps no index of them: every cut
# costs half the group in reading. So cuts are few, and by images more than by bytes; only a unit of so many
# rows that its results would be a burden is cut further.
_FEW_PIECES = 64
_MOST_UNIT_ROWS = 2**14
_UNITS_OF_BYTES_A_PIECE = 8


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

    A unit holds `unit_images` at most; of a group of over 64 times as many rows a 64th, or 16,384 where
    that is fewer. A file without a column of images is counted in `skipped`, unless `image_column` wants
    one; for the first of them `reasons` gets what was looked for. A file that cannot be opened, is gone, or
    claims rows that no file of images has, is one unit without row groups, whose loading tells the reason.

    Raises:
        ConfigurationError: the column that `image_column` wants is not there.
    """
    try:
        groups = _measured(shard, storage, image_column, reasons)
    except (ShardError, ObjectMissing, ObjectChanged, ObjectUnreadable):
        yield _unit(shard, [], 0, shard.size_bytes)
        return
    if groups is None:
        skipped[WITHOUT_IMAGES] += 1
        return
    if not any(group.rows for group in groups):
        skipped[WITHOUT_ROWS] += 1
    waiting, images, size_bytes = list[int](), 0, 0
    for group in groups:
        if not group.rows:
            continue
        pieces = _pieces(group, unit_images, unit_bytes)
        is_full = images + group.rows > unit_images or size_bytes + group.size_bytes > unit_bytes
        if waiting and (is_full or pieces > 1):
            yield _unit(shard, waiting, images, size_bytes)
            waiting, images, size_bytes = [], 0, 0
        if pieces > 1:
            yield from _row_ranges(shard, group, pieces)
            continue
        waiting.append(group.index)
        images, size_bytes = images + group.rows, size_bytes + group.size_bytes
    if waiting:
        yield _unit(shard, waiting, images, size_bytes)


def _measured(
    shard: ObjectInfo, storage: Storage, image_column: str | None, reasons: list[str]
) -> list[RowGroup] | None:
    """Each row group; None for a file without images."""
    file = open_parquet(storage, shard.uri, shard.size_bytes, shard.etag)
    try:
        if find_image_column(file.schema_arrow, image_column, shard.uri) is None:
            if not reasons:
                reasons.append(str(no_image_column(file.schema_arrow, None, shard.uri)))
            return None
    except PARQUET_ERRORS as error:
        raise ShardError(f"{shard.uri}: has a broken footer: {error}; upload or write it again") from error
    return row_groups_of(file.metadata, shard.uri, shard.size_bytes)


def _pieces(group: RowGroup, unit_images: int, unit_bytes: int) -> int:
    wanted = max(
        -(-group.rows // unit_images), -(-group.size_bytes // (unit_bytes * _UNITS_OF_BYTES_A_PIECE))
    )
    return min(wanted, group.rows, max(_FEW_PIECES, -(-group.rows // _MOST_UNIT_ROWS)))


def _row_ranges(shard: ObjectInfo, group: RowGroup, pieces: int) -> Iterator[Unit]:
    step = -(-group.rows // pieces)
    for start in range(0, group.rows, step):
        end = min(start + step, group.rows)
        size_bytes = group.size_bytes * (end - start) // group.rows
        yield _unit(shard, [group.index], end - start, size_bytes, start, end)


def _unit(
    shard: ObjectInfo,
    groups: Sequence[int],
    images: int,
    size_bytes: int,
    start_row: int | None = None,
    end_row: int | None = None,
) -> Unit:
    return Unit(
        unit_id="",
        kind=UnitKind.PARQUET,
        uri=shard.uri,
        size_bytes=size_bytes,
        image_count=images,
        etag=shard.etag,
        shard_size_bytes=shard.size_bytes,
        row_groups=tuple(groups),
        start_row=start_row,
        end_row=end_row,
    )
