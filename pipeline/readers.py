"""The images of a unit, fetched and decoded: every one exactly once, in order, failures included.

An image that cannot be used becomes a `LoadedImage` with a status; one object that is gone or replaced since
planning is such an image too. Everything else stops the unit: a store that cannot be reached or refuses
(`StorageError`), a whole shard that is gone or replaced (`ObjectMissing`, `ObjectChanged`), a broken
container (`ShardError`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.image_gate import ExifRule, ImageLimits, decode_image
from pipeline.object_file import PARQUET_ERRORS, open_parquet
from pipeline.ordered_map import map_in_order
from pipeline.parquet_columns import find_image_column, find_key_column
from pipeline.planner import IMAGE_SUFFIXES
from pipeline.read_ahead import ReadAhead
from pipeline.storage import Storage
from pipeline.tar import LOOK_BACK_BYTES, TarMember, iter_members
from pipeline.units import LoadedImage, ObjectRef, Unit, UnitKind
from pipeline.uris import suffix_of
from posrefine.errors import (
    ImageError,
    ImageStatus,
    InvariantBroken,
    ObjectChanged,
    ObjectMissing,
    ShardError,
)

__all__ = ["ReadOptions", "iter_unit"]

_PARQUET_BATCH_ROWS = 16


def _unguarded(_uri: str) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class ReadOptions:
    """How the images of a unit are fetched and decoded.

    Attributes:
        limits: what is refused before decoding, and for objects and tars before fetching.
        exif: whether pixels are turned upright.
        image_suffixes: which members of a tar are images; lower case, with the dot.
        image_column: of Parquet files; None finds it by its usual names.
        key_column: of Parquet files; None finds it by its usual names, or takes the path beside the bytes.
        fetch_threads: objects fetched at once.
        guard: entered with an image's uri while its bytes are decoded; the `ImageError` that it raises on
            entering becomes the image's row, without the bytes being touched.
    """

    limits: ImageLimits = field(default_factory=ImageLimits)
    exif: ExifRule = "apply"
    image_suffixes: tuple[str, ...] = IMAGE_SUFFIXES
    image_column: str | None = None
    key_column: str | None = None
    fetch_threads: int = 16
    guard: Callable[[str], AbstractContextManager[None]] = _unguarded


def iter_unit(
    unit: Unit,
    storage: Storage,
    options: ReadOptions = ReadOptions(),
    skipped: Counter[str] | None = None,
) -> Iterator[LoadedImage]:
    """Every image of the unit exactly once, in order, failures included.

    A unit counts only when the iteration has ended: `ShardError` may come after its last image. `skipped` is
    filled with what a tar held besides images: by suffix, or as `<link>`, `<directory>`, `<other>`.
    """
    if unit.kind is UnitKind.OBJECTS:
        return _iter_objects(unit, storage, options)
    if unit.kind is UnitKind.TAR:
        return _iter_tar(unit, storage, options, Counter() if skipped is None else skipped)
    return _iter_parquet(unit, storage, options)


def _load(image_key: str, uri: str, data: bytes, options: ReadOptions) -> LoadedImage:
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        with options.guard(uri):
            decoded = decode_image(data, limits=options.limits, exif=options.exif)
    except ImageError as error:
        return LoadedImage(
            image_key,
            uri,
            error.status,
            str(error),
            width=error.width,
            height=error.height,
            sha256=sha256,
            encoded_bytes=len(data),
        )
    height, width, _ = decoded.pixels.shape
    return LoadedImage(
        image_key,
        uri,
        ImageStatus.OK,
        pixels=decoded.pixels,
        width=width,
        height=height,
        exif_orientation=decoded.exif_orientation,
        sha256=sha256,
        encoded_bytes=len(data),
    )


def _iter_objects(unit: Unit, storage: Storage, options: ReadOptions) -> Iterator[LoadedImage]:
    fetch = partial(_fetch, storage, options)
    for entry, fetched in zip(
        unit.objects, map_in_order(fetch, unit.objects, options.fetch_threads), strict=True
    ):
        if isinstance(fetched, LoadedImage):
            yield fetched
        else:
            yield _load(entry.key, entry.uri, fetched, options)


def _fetch(storage: Storage, options: ReadOptions, entry: ObjectRef) -> bytes | LoadedImage:
    """The bytes of an object, or the image as which its absence is reported."""
    refused = partial(LoadedImage, entry.key, entry.uri)
    if entry.size_bytes > options.limits.max_encoded_bytes:
        return refused(ImageStatus.TOO_LARGE, _too_large(entry.size_bytes, options))
    try:
        return storage.read_bytes(entry.uri, entry.etag)
    except ObjectMissing as error:
        return refused(ImageStatus.MISSING, str(error))
    except ObjectChanged as error:
        return refused(ImageStatus.CHANGED, str(error))


def _too_large(size_bytes: int, options: ReadOptions) -> str:
    return f"{size_bytes} encoded bytes; the limit is {options.limits.max_encoded_bytes}"


def _iter_tar(
    unit: Unit, storage: Storage, options: ReadOptions, skipped: Counter[str]
) -> Iterator[LoadedImage]:
    start, end, size_bytes = unit.start_byte, unit.end_byte, unit.shard_size_bytes
    if start is None or end is None or size_bytes is None:
        raise InvariantBroken(f"{unit.unit_id}: a unit of a tar without its byte range or size")
    first = max(0, start - LOOK_BACK_BYTES)
    with ReadAhead(storage, unit.uri, unit.etag, size_bytes, first, end) as source:
        for member in iter_members(source, start, end):
            if member.kind not in ("file", "sparse"):
                skipped[f"<{member.kind}>"] += 1
            elif suffix_of(member.name) in options.image_suffixes:
                yield _load_member(source, member, options)
            elif member.is_cut:
                raise ShardError(
                    f"{unit.uri}: ends inside its member {member.name}, so members may be missing; write or "
                    "upload the tar again"
                )
            else:
                skipped[suffix_of(member.name)] += 1


def _load_member(source: ReadAhead, member: TarMember, options: ReadOptions) -> LoadedImage:
    uri = f"{source.uri}#{member.header_byte}"
    refused = partial(LoadedImage, member.name, uri)
    if member.kind == "sparse":
        return refused(
            ImageStatus.UNSUPPORTED, "a sparse member of a tar; write the tar without sparse files"
        )
    if member.is_cut:
        there = max(0, source.size_bytes - member.data_byte)
        return refused(
            ImageStatus.TRUNCATED, f"the tar ends after {there} of the member's {member.data_bytes} bytes"
        )
    if member.data_bytes > options.limits.max_encoded_bytes:
        return refused(ImageStatus.TOO_LARGE, _too_large(member.data_bytes, options))
    return _load(member.name, uri, source.read(member.data_byte, member.data_bytes), options)


def _iter_parquet(unit: Unit, storage: Storage, options: ReadOptions) -> Iterator[LoadedImage]:
    file = open_parquet(storage, unit.uri, unit.shard_size_bytes or 0, unit.etag)
    image_column = find_image_column(file.schema_arrow, options.image_column, unit.uri)
    key_column = find_key_column(file.schema_arrow, options.key_column, unit.uri)
    for group in unit.row_groups:
        row = sum(file.metadata.row_group(index).num_rows for index in range(group))
        for image, key in _iter_rows(file, group, image_column, key_column, unit.uri):
            yield _load_row(f"{unit.uri}#{row}", image, key, options)
            row += 1


def _iter_rows(
    file: pq.ParquetFile, group: int, image_column: str, key_column: str | None, uri: str
) -> Iterator[tuple[Any, Any]]:
    """Image cell and key cell of each row, a few rows at a time."""
    columns = [image_column] if key_column is None else [image_column, key_column]
    try:
        for batch in file.iter_batches(_PARQUET_BATCH_ROWS, [group], columns, use_threads=False):
            images = batch.column(image_column)
            keys = batch.column(key_column) if key_column else pa.nulls(len(images))
            for image, key in zip(images, keys, strict=True):
                yield image.as_py(), key.as_py()
    except PARQUET_ERRORS as error:
        raise ShardError(
            f"{uri}: row group {group} cannot be read: {error}; write or upload it again"
        ) from error


def _load_row(
    uri: str, image: dict[str, Any] | bytes | None, key: str | int | None, options: ReadOptions
) -> LoadedImage:
    data, path = (image.get("bytes"), image.get("path")) if isinstance(image, dict) else (image, None)
    image_key = next((str(name) for name in (key, path) if name is not None), uri.rpartition("/")[2])
    if data is None:
        return LoadedImage(
            image_key, uri, ImageStatus.MISSING, "the row holds no image bytes; embed the images in the file"
        )
    return _load(image_key, uri, data, options)
