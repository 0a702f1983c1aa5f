"""The images of a unit, fetched and decoded: every one exactly once, in order, failures included.

An image that cannot be used becomes a `LoadedImage` with a status; one object that is gone, replaced,
archived or encrypted with a key that we lack is such an image too. Everything else stops the unit: a store
that cannot be reached or refuses (`StorageError`), the same of a whole shard (`ObjectMissing`,
`ObjectChanged`, `ObjectUnreadable`), a broken container (`ShardError`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

from pipeline.images.cost import decoding_cost
from pipeline.images.gate import ExifRule, ImageLimits, decode_image
from pipeline.images.reduction import needed_size_px
from pipeline.inputs.cutting import selection_of
from pipeline.inputs.parquet_rows import ParquetRow, iter_parquet_rows
from pipeline.inputs.selection import Form, Selection
from pipeline.inputs.tar import LOOK_BACK_BYTES, TarMember, iter_members
from pipeline.inputs.units import LoadedImage, ObjectRef, Unit, UnitKind
from pipeline.settings.run import RunSettings
from pipeline.storage import Storage
from pipeline.storage.ordered_map import map_in_order
from pipeline.storage.read_ahead import ReadAhead
from posrefine.errors import (
    ImageError,
    ImageStatus,
    InvariantBroken,
    ObjectChanged,
    ObjectMissing,
    ObjectUnreadable,
    ShardError,
)

__all__ = ["Guard", "ReadOptions", "decode", "decoded_bytes_of", "iter_unit", "read_options"]

# Rows of a large row group are cut by eight units' bytes on the average; some are larger than others.
_MOST_UNITS_OF_BYTES = 16

Guard = Callable[[str], AbstractContextManager[None]]


def _unguarded(_uri: str) -> AbstractContextManager[None]:
    return nullcontext()


@dataclass(frozen=True)
class ReadOptions:
    """How the images of a unit are fetched and decoded.

    Attributes:
        limits: what is refused before decoding, and for objects and tars before fetching.
        exif: whether pixels are turned upright.
        needed_px: the short side that is wanted of large images, px; None decodes them whole.
        selection: which members of a tar are taken.
        image_column: of Parquet files; None finds it by its usual names.
        key_column: of Parquet files; None finds it by its usual names, or takes the path beside the bytes.
        fetch_threads: objects fetched at once.
        decoded_bytes: of the images of a unit that are decoded at once; those that do not fit in stay
            encoded, for whoever takes them to decode a few at a time.
        encoded_bytes: of the rows of a Parquet unit that stay so; those beyond are too large. Other units are
            bounded when they are cut, and so are rows unless a dictionary repeats them.
        guard: entered with an image's uri while its bytes are decoded; the `ImageError` that it raises on
            entering becomes the image's row, without the bytes being touched.
    """

    limits: ImageLimits = field(default_factory=ImageLimits)
    exif: ExifRule = "apply"
    needed_px: int | None = None
    selection: Selection = field(default_factory=Selection)
    image_column: str | None = None
    key_column: str | None = None
    fetch_threads: int = 16
    decoded_bytes: int = 2**30
    encoded_bytes: int = 2**29
    guard: Guard = _unguarded


def iter_unit(
    unit: Unit,
    storage: Storage,
    options: ReadOptions = ReadOptions(),
    skipped: Counter[str] | None = None,
) -> Iterator[LoadedImage]:
    """Every image of the unit exactly once, in order, failures included; see `ReadOptions` for what is kept.

    A unit counts only when the iteration has ended: `ShardError` may come after its last image. `skipped` is
    filled with what a tar held besides images: by suffix, by the words of `pipeline.inputs.selection`, or as
    `<link>` (a second name of what is in the tar already) and `<other>`.
    """
    # The footer counts a value that is repeated once, so a unit may keep what it says, whatever the limit.
    room_bytes, encoded_room_bytes = options.decoded_bytes, max(options.encoded_bytes, 2 * unit.size_bytes)
    for image in _iter_encoded(unit, storage, options, Counter() if skipped is None else skipped):
        if image.encoded is not None and decoded_bytes_of(image, options) > room_bytes:
            if unit.kind is UnitKind.PARQUET and image.encoded_bytes > encoded_room_bytes:
                yield _beyond_the_unit(image, options)
                continue
            encoded_room_bytes -= image.encoded_bytes
            yield image
            continue
        decoded = decode(image, options)
        room_bytes -= 0 if decoded.pixels is None else decoded.pixels.nbytes
        yield decoded


def _beyond_the_unit(image: LoadedImage, options: ReadOptions) -> LoadedImage:
    return image.failed(
        ImageStatus.TOO_LARGE,
        f"{image.encoded_bytes} encoded bytes beside those of its unit's other rows; the limit of all is "
        f"{options.encoded_bytes}; write smaller row groups, or annotate the file with fewer --unit-images",
    )


def decoded_bytes_of(image: LoadedImage, options: ReadOptions) -> int:
    """What decoding an encoded image will add, as far as its header tells; 0 where it does not."""
    cost = None if image.encoded is None else decoding_cost(image.encoded, options.needed_px)
    return 0 if cost is None else cost.decoded_bytes


def decode(image: LoadedImage, options: ReadOptions) -> LoadedImage:
    """The image decoded, or failed with the reason; one that is not encoded stays as it is."""
    if image.encoded is None:
        return image
    try:
        with options.guard(image.uri):
            decoded = decode_image(
                image.encoded, limits=options.limits, exif=options.exif, needed_px=options.needed_px
            )
    except ImageError as error:
        return replace(image.failed(error.status, str(error)), width=error.width, height=error.height)
    return replace(
        image,
        encoded=None,
        pixels=decoded.pixels,
        width=decoded.width,
        height=decoded.height,
        reduction=decoded.reduction,
        exif_orientation=decoded.exif_orientation,
    )


def _iter_encoded(
    unit: Unit, storage: Storage, options: ReadOptions, skipped: Counter[str]
) -> Iterator[LoadedImage]:
    if unit.kind is UnitKind.OBJECTS:
        return _iter_objects(unit, storage, options)
    if unit.kind is UnitKind.TAR:
        return _iter_tar(unit, storage, options, skipped)
    rows = iter_parquet_rows(unit, storage, options.image_column, options.key_column)
    return map(partial(_of_row, options), rows)


def _encoded(image_key: str, uri: str, data: bytes) -> LoadedImage:
    sha256 = hashlib.sha256(data).hexdigest()
    return LoadedImage(image_key, uri, ImageStatus.OK, sha256=sha256, encoded_bytes=len(data), encoded=data)


def _iter_objects(unit: Unit, storage: Storage, options: ReadOptions) -> Iterator[LoadedImage]:
    fetch = partial(_fetch, storage, options)
    for entry, fetched in zip(
        unit.objects, map_in_order(fetch, unit.objects, options.fetch_threads), strict=True
    ):
        if isinstance(fetched, LoadedImage):
            yield fetched
        else:
            yield _encoded(entry.key, entry.uri, fetched)


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
    except ObjectUnreadable as error:
        return refused(ImageStatus.UNREADABLE, str(error))


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
            if member.kind == "directory":
                continue
            if member.kind not in ("file", "sparse"):
                skipped[f"<{member.kind}>"] += 1
            elif (form := options.selection.of_member(member.name)) == Form.IMAGE:
                yield _load_member(source, member, options)
            elif member.is_cut:
                raise ShardError(
                    f"{unit.uri}: ends inside its member {member.name}, so members may be missing; write or "
                    "upload the tar again"
                )
            else:
                skipped[form] += 1


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
    return _encoded(member.name, uri, source.read(member.data_byte, member.data_bytes))


def _of_row(options: ReadOptions, row: ParquetRow) -> LoadedImage:
    if row.data is None:
        error = "the row holds no image bytes; embed the images in the file"
        return LoadedImage(row.key, row.uri, ImageStatus.MISSING, error)
    if len(row.data) > options.limits.max_encoded_bytes:
        return LoadedImage(row.key, row.uri, ImageStatus.TOO_LARGE, _too_large(len(row.data), options))
    return _encoded(row.key, row.uri, row.data)


def read_options(settings: RunSettings, input_size: int) -> ReadOptions:
    """How the settings fetch and decode images for a network whose input's short side is `input_size` px."""
    limits = ImageLimits(max_encoded_bytes=settings.max_image_bytes, max_pixels=settings.max_pixels)
    return ReadOptions(
        limits=limits,
        encoded_bytes=max(ReadOptions.encoded_bytes, _MOST_UNITS_OF_BYTES * settings.unit_bytes),
        exif=settings.exif,
        needed_px=needed_size_px(input_size, settings.scales) if settings.decode_smaller else None,
        selection=selection_of(settings),
        image_column=settings.image_column,
        key_column=settings.key_column,
    )
