"""The rows of a run as they are stored, read back: unit files, or the tables where only these are left."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.commit import decode_table
from pipeline.layout import OutputTree
from pipeline.ordered_map import map_in_order
from pipeline.schema import PERSONS_SCHEMA, UNIT_SCHEMA, ImageResult, described
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, ImageStatus, ShardError
from posrefine.inference.poses import Poses
from posrefine.skeletons import SKELETONS, Skeleton

__all__ = ["RunFile", "RunRows", "TableFile", "UnitFile", "open_run_rows"]

_PERSONS_PER_BATCH = 8_192


@dataclass(frozen=True)
class UnitFile:
    """The file of one finished unit."""

    images: ClassVar[int] = 128
    """That it holds, about."""
    read_ahead: ClassVar[int] = 8

    uri: str

    def fetch(self, storage: Storage) -> tuple[bytes, ...]:
        """Its bytes."""
        return (storage.read_bytes(self.uri),)

    def decode(self, data: tuple[bytes, ...], joints: int) -> Iterator[ImageResult]:
        """Its images, in order, from its bytes; `joints` is the number of joints of a person."""
        rows = decode_table(data[0], UNIT_SCHEMA.names)
        lists = _whole(rows["persons"])
        counts = np.asarray(pc.list_value_length(lists), np.int64)
        return _results(rows, _poses(lists.flatten(), joints), counts)


@dataclass(frozen=True)
class TableFile:
    """A file of `tables/images` and the one of `tables/persons` that belongs to it."""

    images: ClassVar[int] = 65_536
    read_ahead: ClassVar[int] = 1

    uri: str
    persons_uri: str

    def fetch(self, storage: Storage) -> tuple[bytes, ...]:
        """Their bytes."""
        return storage.read_bytes(self.uri), storage.read_bytes(self.persons_uri)

    def decode(self, data: tuple[bytes, ...], joints: int) -> Iterator[ImageResult]:
        """Their images, in order, from their bytes; some thousand persons are decoded at a time."""
        persons = _People(data[1], joints)
        for batch in pq.ParquetFile(io.BytesIO(data[0])).iter_batches(1024, use_threads=False):
            images = pa.Table.from_batches([batch])
            counts = np.asarray(images["person_count"], np.int64)
            yield from _results(images, persons.take(int(counts.sum()), self), counts)
        persons.require_end(self)


RunFile = UnitFile | TableFile


@dataclass(frozen=True)
class RunRows:
    """A run's files, and what their metadata say.

    Attributes:
        uri: of the run.
        skeleton: of the persons.
        model: name of the network.
        weights: what the weights were called.
        weights_sha256: of the weights.
        code_version: of the package that wrote the rows.
        settings: what decides the rows, by name.
        note: what must be known about the network's poses, such as that they mean nothing.
        files: together they hold every finished image once.
    """

    uri: str
    skeleton: Skeleton
    model: str
    weights: str
    weights_sha256: str
    code_version: str
    settings: dict[str, Any]
    note: str | None
    files: tuple[RunFile, ...]

    def images(self, storage: Storage) -> Iterator[ImageResult]:
        """Every image once, in order, in bounded memory: a few files are held at a time, as their bytes.

        Raises:
            ShardError: images and persons of the tables do not belong together.
            StorageError: a file cannot be read.
        """
        fetched = map_in_order(lambda file: file.fetch(storage), self.files, self.files[0].read_ahead)
        for file, data in zip(self.files, fetched, strict=True):
            yield from file.decode(data, self.skeleton.num_joints)

    def columns(self, storage: Storage, names: Sequence[str]) -> Iterator[pa.Table]:
        """Some columns of all images, file by file."""
        fetched = map_in_order(
            lambda file: storage.read_bytes(file.uri), self.files, self.files[0].read_ahead
        )
        for data in fetched:
            yield decode_table(data, list(names))

    def sample(self, images: int) -> RunRows:
        """The run with about `images` images at least, in whole files spread evenly over all."""
        wanted = max(1, images // self.files[0].images)
        if wanted >= len(self.files):
            return self
        chosen = np.linspace(0, len(self.files) - 1, wanted).round().astype(int)
        return replace(self, files=tuple(self.files[index] for index in chosen))


def open_run_rows(uri: str, storage: Storage) -> RunRows:
    """Find a run's files: its tables if they are finished, else its unit files, whole at any moment.

    Tables whose `_SUCCESS.json` was not copied with them are taken where nothing else is there.

    Raises:
        ConfigurationError: there are none, or they were not written by a run.
        StorageError: they cannot be listed or read.
    """
    tree = OutputTree.at(uri)
    files: tuple[RunFile, ...] = () if storage.exists(tree.success) else tuple(_unit_files(storage, tree))
    files = files or tuple(_table_files(storage, tree)) or tuple(_unit_files(storage, tree))
    if not files:
        raise ConfigurationError(
            f"{tree.root}: no units/*.parquet or tables/images/*.parquet below it; name the output of a run "
            "with at least one finished unit"
        )
    values = described(decode_table(storage.read_bytes(files[0].uri), ["image_key"]).schema.metadata)
    name = values.get("skeleton")
    if name not in SKELETONS:
        raise ConfigurationError(
            f"{files[0].uri}: metadata name the skeleton {name!r}, expected one of {', '.join(SKELETONS)}; "
            "the file was not written by a run of this version"
        )
    return RunRows(
        uri=tree.root,
        skeleton=SKELETONS[name],
        model=values.get("model", ""),
        weights=values.get("weights", ""),
        weights_sha256=values.get("weights_sha256", ""),
        code_version=values.get("code_version", ""),
        settings=json.loads(values.get("settings", "{}")),
        note=values.get("note"),
        files=files,
    )


def _unit_files(storage: Storage, tree: OutputTree) -> Iterator[UnitFile]:
    for found in storage.list(tree.units):
        if found.uri.endswith(".parquet"):
            yield UnitFile(found.uri)


def _table_files(storage: Storage, tree: OutputTree) -> Iterator[TableFile]:
    folder = tree.table("images", 0).rpartition("/")[0]
    for found in storage.list(folder):
        if found.uri.endswith(".parquet"):
            head, _, tail = found.uri.rpartition("/images/")
            yield TableFile(found.uri, f"{head}/persons/{tail}")


class _People:
    """The persons of a table, taken from its front."""

    def __init__(self, data: bytes, joints: int) -> None:
        file = pq.ParquetFile(io.BytesIO(data))
        self._batches = file.iter_batches(_PERSONS_PER_BATCH, columns=_PERSON_COLUMNS, use_threads=False)
        self._joints = joints
        self._waiting = pa.Table.from_batches(
            [], pa.schema([PERSONS_SCHEMA.field(n) for n in _PERSON_COLUMNS])
        )

    def take(self, count: int, file: TableFile) -> Poses:
        """The next `count` persons."""
        while self._waiting.num_rows < count:
            batch = next(self._batches, None)
            if batch is None:
                raise _apart(file)
            self._waiting = pa.concat_tables([self._waiting, _without_metadata(batch)])
        taken, self._waiting = self._waiting.slice(0, count), self._waiting.slice(count)
        return _poses(_whole(taken.to_struct_array()), self._joints)

    def require_end(self, file: TableFile) -> None:
        """Raise ShardError where persons are left."""
        if self._waiting.num_rows or next(self._batches, None) is not None:
            raise _apart(file)


def _without_metadata(batch: pa.RecordBatch) -> pa.Table:
    return pa.Table.from_batches([batch]).replace_schema_metadata(None)


def _apart(file: TableFile) -> ShardError:
    return ShardError(
        f"{file.persons_uri}: does not hold as many persons as {file.uri} counts; finalize the run again"
    )


def _whole(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column in one piece."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def _results(
    images: pa.Table, everyone: Poses, persons_per_image: NDArray[np.int64]
) -> Iterator[ImageResult]:
    """Rows as the run's commit took them; poses of failed images are None."""
    starts = np.concatenate([[0], np.cumsum(persons_per_image)])
    columns = {name: images[name] for name in _IMAGE_COLUMNS}
    for row in range(images.num_rows):
        values = {name: column[row].as_py() for name, column in columns.items()}
        values["status"] = status = ImageStatus(values["status"])
        part = slice(starts[row], starts[row + 1])
        yield ImageResult(**values, poses=_part(everyone, part) if status is ImageStatus.OK else None)


_PERSON_COLUMNS = ["score", "keypoints", "keypoint_scores", "spread_px"]
_IMAGE_COLUMNS = (
    "image_key", "image_id", "uri", "width", "height", "exif_orientation", "sha256", "status", "error",
)  # fmt: skip


def _part(poses: Poses, part: slice) -> Poses:
    return Poses(
        poses.keypoints[part], poses.keypoint_scores[part], poses.scores[part], poses.spread_px[part]
    )


def _poses(persons: pa.StructArray, joints: int) -> Poses:
    """All persons of a file as one; a spread that was not stored is NaN."""
    spreads = pc.struct_field(persons, "spread_px")
    spread_px = np.full((len(persons), joints), np.nan, np.float32)
    spread_px[np.asarray(pc.is_valid(spreads), bool)] = _floats(spreads).reshape(-1, joints)
    return Poses(
        keypoints=_floats(pc.struct_field(persons, "keypoints")).reshape(-1, joints, 2),
        keypoint_scores=_floats(pc.struct_field(persons, "keypoint_scores")).reshape(-1, joints),
        scores=np.asarray(pc.struct_field(persons, "score"), np.float32),
        spread_px=spread_px,
    )


def _floats(lists: pa.ListArray) -> NDArray[np.float32]:
    """The values of all lists, one after the other."""
    return np.asarray(pc.list_flatten(lists), np.float32)
