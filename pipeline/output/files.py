"""The Parquet files below an output: which they are, and what they hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.output.generations import FIRST_GENERATION
from pipeline.output.layout import OutputTree
from pipeline.output.parquet import decode_stored, open_stored
from pipeline.output.place import Place
from pipeline.output.schema import (
    IMAGES_SCHEMA,
    MODEL,
    PERSONS_SCHEMA,
    UNIT_SCHEMA,
    ImageResult,
    persons_as_found,
)
from pipeline.output.stored_poses import (
    POSE_COLUMNS,
    RESULT_COLUMNS,
    StoredPersons,
    image_results,
    stored_persons,
    whole_column,
)
from pipeline.storage import ObjectInfo
from pipeline.storage.object_file import damage_named
from posrefine.errors import ConfigurationError, ShardError

__all__ = [
    "PersonRows",
    "RunFile",
    "TableFile",
    "UnitFile",
    "list_all_units",
    "list_tables",
    "list_units",
    "table_file",
]

_PERSONS_PER_BATCH = 8_192
_UNIT_NAME = re.compile(r"u[0-9]+\.parquet")
_LATER_UNITS = re.compile(r"g([0-9]+)/units/(.+)")
_PART_NAME = re.compile(r"(part-g([0-9]+)-[0-9]+)-[0-9a-f]+\.parquet")


@dataclass(frozen=True)
class PersonRows:
    """Some images and their persons, as columns.

    Attributes:
        images: [N] rows with the columns that were asked for, and the file's metadata.
        persons: [sum of `per_image`] rows of all images, one image after the other, at least with the fields
            that were asked for.
        per_image: [N] int64, persons of each image.
    """

    images: pa.Table
    persons: pa.StructArray
    per_image: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> PersonRows:
        """Some of the images, by their indices, with their persons."""
        ends, counts = np.cumsum(self.per_image), self.per_image[rows]
        ranges = [np.arange(end - count, end) for end, count in zip(ends[rows], counts, strict=True)]
        persons = np.concatenate([np.zeros(0, np.int64), *ranges])
        return PersonRows(self.images.take(rows), self.persons.take(pa.array(persons)), counts)

    @staticmethod
    def together(parts: Sequence[PersonRows]) -> PersonRows:
        """The rows of all parts, of which there is one at least, one part after the other."""
        return PersonRows(
            pa.concat_tables([part.images for part in parts]),
            pa.concat_arrays([part.persons for part in parts]),
            np.concatenate([part.per_image for part in parts]),
        )


@dataclass(frozen=True)
class UnitFile:
    """The file of one finished unit, as it was listed."""

    images: ClassVar[int] = 128
    """About how many images it holds."""
    read_ahead: ClassVar[int] = 8

    uri: str
    unit_id: str
    etag: str
    size_bytes: int

    @property
    def generation(self) -> int:
        """Whoever reads units reads those of the first, or says which."""
        return FIRST_GENERATION

    def fetch(self, read: Callable[[str], bytes]) -> tuple[bytes, ...]:
        """Its bytes, by `read` from its address."""
        return (read(self.uri),)

    def persons(
        self, data: tuple[bytes, ...], columns: Sequence[str], _fields: Sequence[str], run_id: str
    ) -> PersonRows:
        """Columns of its images and their persons, from its bytes; ShardError for a file of another run."""
        stored = [name for name in columns if name in UNIT_SCHEMA.names]
        rows = decode_stored(self.uri, data[0], [*stored, "persons"], run_id)
        rows = rows.append_column("source", pa.array([MODEL] * rows.num_rows, pa.string()))
        lists = persons_as_found(whole_column(rows["persons"]))
        return PersonRows(rows, lists.flatten(), np.asarray(pc.list_value_length(lists), np.int64))

    def decode(self, data: tuple[bytes, ...], joints: int, run_id: str) -> Iterator[ImageResult]:
        """Its images, in order, from its bytes; `joints` is the number of joints of a person."""
        rows = self.persons(data, RESULT_COLUMNS, POSE_COLUMNS, run_id)
        return image_results(rows.images, stored_persons(rows.persons, joints), rows.per_image)


@dataclass(frozen=True)
class TableFile:
    """A file of `tables/images`, of some `images` rows, and the one in `tables/persons` beside it."""

    read_ahead: ClassVar[int] = 1

    uri: str
    persons_uri: str
    images: int = 65_536

    @property
    def generation(self) -> int:
        """The generation that its units belong to."""
        match = _PART_NAME.fullmatch(self.uri.rpartition("/")[2])
        return int(match[2]) if match else FIRST_GENERATION

    def fetch(self, read: Callable[[str], bytes]) -> tuple[bytes, ...]:
        """Their bytes, by `read` from their addresses."""
        return read(self.uri), read(self.persons_uri)

    def persons(
        self, data: tuple[bytes, ...], columns: Sequence[str], fields: Sequence[str], run_id: str
    ) -> PersonRows:
        """Columns of their images and fields of their persons, from their bytes.

        Raises:
            ShardError: images and persons do not belong together, or are of another run.
        """
        images = decode_stored(self.uri, data[0], list(dict.fromkeys([*columns, "person_count"])), run_id)
        people = decode_stored(self.persons_uri, data[1], fields, run_id)
        per_image = np.asarray(images["person_count"], np.int64)
        if per_image.sum() != people.num_rows:
            raise _mismatch(self)
        return PersonRows(images, whole_column(people.to_struct_array()), per_image)

    def decode(self, data: tuple[bytes, ...], joints: int, run_id: str) -> Iterator[ImageResult]:
        """Their images, in order, from their bytes; some thousand persons are decoded at a time."""
        persons = _People(open_stored(self.persons_uri, data[1], POSE_COLUMNS, run_id), joints)
        images = open_stored(self.uri, data[0], IMAGES_SCHEMA.names, run_id)
        with damage_named(self.uri):
            for batch in images.iter_batches(1024, use_threads=False):
                rows = pa.Table.from_batches([batch])
                counts = np.asarray(rows["person_count"], np.int64)
                yield from image_results(rows, persons.take(int(counts.sum()), self), counts)
        persons.require_end(self)


RunFile = UnitFile | TableFile


def list_units(place: Place, strangers: list[str] | None = None) -> Iterator[UnitFile]:
    """The files of the finished units, in the order of their ids.

    This is the one rule of what a unit's file is: it lies in `units/` itself and is called as units are.
    Whatever else lies there (a `.DS_Store`, a copy, a nested output) is none, and is added to `strangers`.
    """
    for found in place.storage.list(place.tree.units):
        yield from _unit_file(found, found.uri.removeprefix(place.tree.units).lstrip("/"), strangers)


def list_all_units(place: Place, strangers: list[str] | None = None) -> Iterator[tuple[int, UnitFile]]:
    """The finished units' files of all generations, each with the number of its own, by two listings."""
    first, later = replace(place.tree, generation=FIRST_GENERATION), place.tree.generations
    for file in list_units(replace(place, tree=first), strangers):
        yield FIRST_GENERATION, file
    for found in place.storage.list(later):
        if match := _LATER_UNITS.fullmatch(found.uri.removeprefix(later).lstrip("/")):
            for file in _unit_file(found, match[2], strangers):
                yield int(match[1]), file


def _unit_file(found: ObjectInfo, name: str, strangers: list[str] | None) -> Iterator[UnitFile]:
    """It, where an object below `units/` is a unit's file."""
    if _UNIT_NAME.fullmatch(name):
        yield UnitFile(found.uri, name.removesuffix(".parquet"), found.etag, found.size_bytes)
    elif strangers is not None:
        strangers.append(name)


def list_tables(place: Place) -> Iterator[TableFile]:
    """The files of tables that nothing is known about but their names, in order; see `RunOutput.rows`.

    Raises:
        ConfigurationError: a file and the one that replaced it are both there.
    """
    folder, last = place.tree.table_folder("images"), ""
    for found in place.storage.list(folder):
        name = found.uri.removeprefix(folder).lstrip("/")
        if match := _PART_NAME.fullmatch(name):
            if match[1] == last:
                raise ConfigurationError(
                    f"{found.uri}: another file of {last} is beside it, and no _SUCCESS.json says which one "
                    "counts; `finalize` the run"
                )
            last = match[1]
            yield table_file(place.tree, name)


def table_file(tree: OutputTree, path: str, images: int = TableFile.images) -> TableFile:
    """The file of that path in both tables."""
    return TableFile(tree.table("images", path), tree.table("persons", path), images)


class _People:
    """The persons of a table, taken from its front."""

    def __init__(self, file: pq.ParquetFile, joints: int) -> None:
        self._batches = file.iter_batches(_PERSONS_PER_BATCH, columns=POSE_COLUMNS, use_threads=False)
        self._joints = joints
        self._waiting = pa.Table.from_batches([], pa.schema([PERSONS_SCHEMA.field(n) for n in POSE_COLUMNS]))

    def take(self, count: int, file: TableFile) -> StoredPersons:
        """The next `count` persons."""
        while self._waiting.num_rows < count:
            with damage_named(file.persons_uri):
                batch = next(self._batches, None)
            if batch is None:
                raise _mismatch(file)
            self._waiting = pa.concat_tables([self._waiting, _without_metadata(batch)])
        taken, self._waiting = self._waiting.slice(0, count), self._waiting.slice(count)
        return stored_persons(whole_column(taken.to_struct_array()), self._joints)

    def require_end(self, file: TableFile) -> None:
        """Raise ShardError where persons are left."""
        with damage_named(file.persons_uri):
            left = self._waiting.num_rows or next(self._batches, None) is not None
        if left:
            raise _mismatch(file)


def _without_metadata(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch]).replace_schema_metadata(None)


def _mismatch(file: TableFile) -> ShardError:
    return ShardError(
        f"{file.persons_uri}: does not hold as many persons as {file.uri} counts; finalize the run again"
    )
