"""Cutting an input into units, by listing alone (and reading the footers of Parquet files)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow.parquet as pq

from pipeline.object_file import PARQUET_ERRORS, open_parquet
from pipeline.parquet_columns import find_image_column
from pipeline.storage import ObjectInfo, Storage
from pipeline.units import ObjectRef, Unit, UnitKind
from pipeline.uris import normalise_uri, suffix_of
from posrefine.errors import ConfigurationError, ObjectMissing, ShardError

__all__ = ["IMAGE_SUFFIXES", "PlanOptions", "plan_units"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
_TAR, _PARQUET = ".tar", ".parquet"


@dataclass(frozen=True)
class PlanOptions:
    """How an input is cut into units.

    Attributes:
        unit_images: images of a unit at most (a single Parquet row group may hold more).
        unit_bytes: encoded bytes of a unit at most (one image or row group may be larger); also the length
            of the ranges that tars are split into, about 200 photos of 160 kB.
        image_suffixes: lower case, with the dot; other objects are skipped and counted.
        split_tars: False reads each tar as one unit, which tars that hold tars may need.
        image_column: of Parquet files; None finds it by its usual names.
    """

    unit_images: int = 128
    unit_bytes: int = 32 * 2**20
    image_suffixes: tuple[str, ...] = IMAGE_SUFFIXES
    split_tars: bool = True
    image_column: str | None = None


def plan_units(
    input_uri: str,
    storage: Storage,
    options: PlanOptions = PlanOptions(),
    skipped: Counter[str] | None = None,
) -> Iterator[Unit]:
    """The units of an input, in order and in bounded memory; the same input gives the same units.

    The input is a folder or prefix with any mixture of images, tars and Parquet files at any depth, each
    taken by its suffix, or the address of one such object. Images are packed in key order. `skipped` is
    filled with the objects of other suffixes, counted by suffix.

    Raises `ConfigurationError` for an input without anything to read.
    """
    skipped = Counter() if skipped is None else skipped
    root, objects = _open_input(normalise_uri(input_uri), storage, options)
    count = 0
    for count, unit in enumerate(_cut(root, objects, storage, options, skipped), start=1):
        yield replace(unit, unit_id=f"u{count - 1:08d}")
    if count == 0:
        raise _nothing_to_read(input_uri, options, skipped)


def _open_input(uri: str, storage: Storage, options: PlanOptions) -> tuple[str, Iterator[ObjectInfo]]:
    """The folder that keys are relative to, and the objects of the input."""
    if suffix_of(uri) in (*options.image_suffixes, _TAR, _PARQUET):
        try:
            return uri.rpartition("/")[0], iter([storage.head(uri)])
        except ObjectMissing:
            pass  # a folder may be named like a file
    return uri, storage.list(uri)


def _cut(
    root: str, objects: Iterator[ObjectInfo], storage: Storage, options: PlanOptions, skipped: Counter[str]
) -> Iterator[Unit]:
    waiting: list[ObjectRef] = []
    waiting_bytes = 0
    for found in objects:
        suffix = suffix_of(found.uri)
        if suffix in options.image_suffixes:
            is_full = waiting_bytes + found.size_bytes > options.unit_bytes
            if waiting and (is_full or len(waiting) >= options.unit_images):
                yield _of_objects(root, waiting)
                waiting, waiting_bytes = [], 0
            key = found.uri[len(root.rstrip("/")) + 1 :]
            waiting.append(ObjectRef(found.uri, key, found.size_bytes, found.etag))
            waiting_bytes += found.size_bytes
        elif suffix == _TAR:
            yield from _of_tar(found, options)
        elif suffix == _PARQUET:
            yield from _of_parquet(found, storage, options)
        else:
            skipped[suffix] += 1
    if waiting:
        yield _of_objects(root, waiting)


def _of_objects(root: str, objects: list[ObjectRef]) -> Unit:
    return Unit(
        unit_id="",
        kind=UnitKind.OBJECTS,
        uri=root,
        size_bytes=sum(entry.size_bytes for entry in objects),
        image_count=len(objects),
        objects=tuple(objects),
    )


def _of_tar(shard: ObjectInfo, options: PlanOptions) -> Iterator[Unit]:
    step = options.unit_bytes if options.split_tars else max(1, shard.size_bytes)
    for start in range(0, max(1, shard.size_bytes), step):
        end = min(start + step, shard.size_bytes)
        yield Unit(
            unit_id="",
            kind=UnitKind.TAR,
            uri=shard.uri,
            size_bytes=end - start,
            etag=shard.etag,
            shard_size_bytes=shard.size_bytes,
            start_byte=start,
            end_byte=end,
        )


def _of_parquet(shard: ObjectInfo, storage: Storage, options: PlanOptions) -> Iterator[Unit]:
    """Units of consecutive row groups."""
    file = open_parquet(storage, shard.uri, shard.size_bytes, shard.etag)
    try:
        find_image_column(file.schema_arrow, options.image_column, shard.uri)
        groups = [_measure(file.metadata, index) for index in range(file.metadata.num_row_groups)]
    except PARQUET_ERRORS as error:
        raise ShardError(f"{shard.uri}: has a broken footer: {error}; upload or write it again") from error
    waiting = _RowGroups()
    for group in groups:
        together = waiting + group
        if waiting.images and (together.images > options.unit_images or together.bytes > options.unit_bytes):
            yield _of_row_groups(shard, waiting)
            together = group
        waiting = together
    if waiting.images:
        yield _of_row_groups(shard, waiting)


@dataclass(frozen=True)
class _RowGroups:
    indices: tuple[int, ...] = ()
    images: int = 0
    bytes: int = 0

    def __add__(self, other: _RowGroups) -> _RowGroups:
        return _RowGroups(self.indices + other.indices, self.images + other.images, self.bytes + other.bytes)


def _measure(footer: pq.FileMetaData, index: int) -> _RowGroups:
    # Of all columns, uncompressed: pyarrow 26.0.1 ends the process over some broken descriptions of one.
    group = footer.row_group(index)
    return _RowGroups((index,), group.num_rows, group.total_byte_size)


def _of_row_groups(shard: ObjectInfo, groups: _RowGroups) -> Unit:
    return Unit(
        unit_id="",
        kind=UnitKind.PARQUET,
        uri=shard.uri,
        size_bytes=groups.bytes,
        image_count=groups.images,
        etag=shard.etag,
        shard_size_bytes=shard.size_bytes,
        row_groups=groups.indices,
    )


def _nothing_to_read(input_uri: str, options: PlanOptions, skipped: Counter[str]) -> ConfigurationError:
    wanted = ", ".join((*options.image_suffixes, _TAR, _PARQUET))
    others = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in sorted(skipped.items()))
    return ConfigurationError(
        f"{input_uri}: nothing to read; looked for {wanted} at any depth and found "
        f"{others or 'no object at all'}; check the address (compressed tars must be unpacked to .tar first)"
    )
