"""Cutting an input into units, by listing alone (and reading the footers of Parquet files)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.inputs.cut_parquet import cut_parquet
from pipeline.inputs.selection import Form, Selection
from pipeline.inputs.units import ObjectRef, Unit, UnitKind
from pipeline.settings.run import RunSettings
from pipeline.storage import ObjectInfo, Storage
from pipeline.storage.uris import is_s3, normalise_uri, suffix_of
from posrefine.errors import ConfigurationError, ObjectMissing
from posrefine.image_formats import UNREAD_SUFFIXES

__all__ = [
    "CutOptions",
    "cut_into_units",
    "cut_objects",
    "cut_options",
    "key_below",
    "listed_skipped",
    "open_input",
    "selection_of",
    "unit_name",
]

_SHARD_SUFFIXES = (".tar", ".parquet")


@dataclass(frozen=True)
class CutOptions:
    """How an input is cut into units.

    Attributes:
        unit_images: images of a unit at most (rows of Parquet row groups of over 64 times as many: more,
            16,384 at most).
        unit_bytes: encoded bytes of a unit at most (one image may be larger, and rows of a Parquet row group
            may be eight times as large); also the length of the ranges that tars are split into, about 200
            photos of 160 kB.
        selection: which objects are taken; others are skipped and counted.
        split_tars: False reads each tar as one unit, which tars that hold tars may need.
        image_column: of Parquet files; None finds it by its usual names.
    """

    unit_images: int = 128
    unit_bytes: int = 32 * 2**20
    selection: Selection = field(default_factory=Selection)
    split_tars: bool = True
    image_column: str | None = None


def cut_into_units(
    input_uri: str,
    storage: Storage,
    options: CutOptions = CutOptions(),
    skipped: Counter[str] | None = None,
) -> Iterator[Unit]:
    """The units of an input, in order and in bounded memory; the same input gives the same units.

    The input is a folder or prefix with any mixture of images, tars and Parquet files at any depth, each
    taken by its suffix, or the address of one such object. Images are packed in key order. `skipped` is
    filled with the other objects, counted by suffix, or by the words of `pipeline.inputs.selection`. A
    Parquet file that cannot be opened is a unit whose loading says why.

    Raises `ConfigurationError` for an input without anything to read.
    """
    skipped = Counter() if skipped is None else skipped
    root, objects = open_input(input_uri, storage, options.selection)
    count, reasons = 0, list[str]()
    for count, unit in enumerate(cut_objects(root, objects, storage, options, skipped, reasons), start=1):
        yield replace(unit, unit_id=unit_name(count - 1))
    if count == 0:
        raise _nothing_to_read(input_uri, options, skipped, reasons)


def unit_name(number: int) -> str:
    """The id of the unit of that number; units of later generations go on counting."""
    return f"u{number:08d}"


def open_input(input_uri: str, storage: Storage, selection: Selection) -> tuple[str, Iterator[ObjectInfo]]:
    """The folder that keys are relative to, and the objects of the input, in key order."""
    uri = normalise_uri(input_uri)
    if suffix_of(uri) in (*selection.image_suffixes, *_SHARD_SUFFIXES):
        try:
            return uri.rpartition("/")[0], iter([storage.head(uri)])
        except ObjectMissing:
            pass  # a folder may be named like a file
    return uri, storage.list(uri)


def cut_objects(
    root: str,
    objects: Iterator[ObjectInfo],
    storage: Storage,
    options: CutOptions,
    skipped: Counter[str],
    reasons: list[str],
) -> Iterator[Unit]:
    """Units of the objects, which lie below `root`, without ids; see `cut_into_units`.

    An object is taken from `objects` when the units of those before it are out, but for images that wait for
    their unit to be full. For the first Parquet file without images `reasons` gets what was looked for.
    """
    waiting: list[ObjectRef] = []
    waiting_bytes = 0
    for found in objects:
        key = key_below(root, found.uri)
        form = options.selection.of_object(key)
        if form == Form.IMAGE:
            is_full = waiting_bytes + found.size_bytes > options.unit_bytes
            if waiting and (is_full or len(waiting) >= options.unit_images):
                yield _of_objects(root, waiting)
                waiting, waiting_bytes = [], 0
            waiting.append(ObjectRef(found.uri, key, found.size_bytes, found.etag))
            waiting_bytes += found.size_bytes
        elif form == Form.TAR:
            yield from _of_tar(found, options)
        elif form == Form.PARQUET:
            yield from cut_parquet(
                found,
                storage,
                options.unit_images,
                options.unit_bytes,
                options.image_column,
                skipped,
                reasons,
            )
        else:
            skipped[form] += 1
    if waiting:
        yield _of_objects(root, waiting)


def key_below(root: str, uri: str) -> str:
    """The key of an object of the input: its address below the folder."""
    return uri[len(root.rstrip("/")) + 1 :]


def _of_objects(root: str, objects: list[ObjectRef]) -> Unit:
    return Unit(
        unit_id="",
        kind=UnitKind.OBJECTS,
        uri=root,
        size_bytes=sum(entry.size_bytes for entry in objects),
        image_count=len(objects),
        objects=tuple(objects),
    )


def _of_tar(shard: ObjectInfo, options: CutOptions) -> Iterator[Unit]:
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


def _nothing_to_read(
    input_uri: str, options: CutOptions, skipped: Counter[str], reasons: list[str]
) -> ConfigurationError:
    wanted = ", ".join((*options.selection.image_suffixes, *_SHARD_SUFFIXES))
    advice = [
        "check the address, of a folder or of one file with such a suffix (compressed tars must be unpacked)"
    ]
    advice += reasons
    if not is_s3(input_uri) and not Path(normalise_uri(input_uri)).exists():
        return ConfigurationError(f"{input_uri}: there is no such file or folder; {advice[0]}")
    if options.selection.include or options.selection.exclude:
        advice.append("check --include and --exclude")
    return ConfigurationError(
        f"{input_uri}: nothing to read; looked for {wanted} at any depth and found "
        f"{listed_skipped(skipped) or 'no object below it'}; {'; '.join(advice)}"
    )


def listed_skipped(skipped: Mapping[str, int]) -> str:
    """What was no input, in words: `3 .json, 1 without suffix`; photographs that are not read say why."""
    return ", ".join(f"{count:,} {_called(word)}" for word, count in sorted(skipped.items()))


def _called(word: str) -> str:
    if word in UNREAD_SUFFIXES:
        return f"{word} (not read here: install {UNREAD_SUFFIXES[word]})"
    return word or "without suffix"


def cut_options(settings: RunSettings) -> CutOptions:
    """How the settings cut the input into units."""
    return CutOptions(
        unit_images=settings.unit_images,
        unit_bytes=settings.unit_bytes,
        selection=selection_of(settings),
        split_tars=settings.split_tars,
        image_column=settings.image_column,
    )


def selection_of(settings: RunSettings) -> Selection:
    """What of the input the settings take."""
    return Selection(include=settings.include, exclude=settings.exclude)
