"""The rows of a run as they are stored, read back: unit files, or the tables where only these are left."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.commit import decode_table
from pipeline.layout import OutputTree
from pipeline.ordered_map import map_in_order
from pipeline.schema import IMAGES_SCHEMA, PERSONS_SCHEMA, UNIT_SCHEMA, ImageResult
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, ImageStatus, ShardError
from posrefine.inference.poses import Poses
from posrefine.skeletons import SKELETONS, Skeleton

__all__ = ["RunFile", "RunRows", "TableFile", "UnitFile", "open_run_rows"]

_READ_AHEAD = 4
_UNIT_IMAGES, _TABLE_IMAGES = 128, 65_536
"""About how many images one file holds; decides how many files a sample needs."""


@dataclass(frozen=True)
class UnitFile:
    """The file of one finished unit."""

    uri: str

    def read(self, storage: Storage, joints: int) -> Iterator[ImageResult]:
        """Its images, in order; `joints` is the number of joints of a person."""
        rows = decode_table(storage.read_bytes(self.uri), UNIT_SCHEMA.names)
        lists = rows["persons"].combine_chunks()
        lists = pa.concat_arrays(lists.chunks) if isinstance(lists, pa.ChunkedArray) else lists
        counts = np.asarray(pc.list_value_length(lists), np.int64)
        return _results(rows, _poses(lists.flatten(), joints), counts)

    def columns(self, storage: Storage, names: Sequence[str]) -> pa.Table:
        """Some columns of its images."""
        return decode_table(storage.read_bytes(self.uri), list(names))


@dataclass(frozen=True)
class TableFile:
    """A file of `tables/images` and the one of `tables/persons` that belongs to it."""

    uri: str
    persons_uri: str

    def read(self, storage: Storage, joints: int) -> Iterator[ImageResult]:
        """Their images, in order; `joints` is the number of joints of a person."""
        images = decode_table(storage.read_bytes(self.uri), IMAGES_SCHEMA.names)
        persons = decode_table(storage.read_bytes(self.persons_uri), PERSONS_SCHEMA.names).combine_chunks()
        counts = np.asarray(images["person_count"], np.int64)
        if counts.sum() != persons.num_rows:
            raise ShardError(
                f"{self.persons_uri}: {persons.num_rows} persons, but {self.uri} counts {counts.sum()}; "
                "finalize the run again"
            )
        return _results(images, _poses(_structs(persons), joints), counts)

    def columns(self, storage: Storage, names: Sequence[str]) -> pa.Table:
        """Some columns of its images."""
        return decode_table(storage.read_bytes(self.uri), list(names))


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
        note: there only where the poses mean nothing.
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
        """Every image once, in order; a few files are in memory at a time."""
        joints = self.skeleton.num_joints
        for results in map_in_order(lambda file: file.read(storage, joints), self.files, _READ_AHEAD):
            yield from results

    def columns(self, storage: Storage, names: Sequence[str]) -> Iterator[pa.Table]:
        """Some columns of all images, file by file."""
        yield from map_in_order(lambda file: file.columns(storage, names), self.files, _READ_AHEAD)

    def sample(self, images: int) -> RunRows:
        """The run with about `images` images at least, in whole files spread evenly over all."""
        per_file = _UNIT_IMAGES if isinstance(self.files[0], UnitFile) else _TABLE_IMAGES
        wanted = max(1, images // per_file)
        if wanted >= len(self.files):
            return self
        chosen = np.linspace(0, len(self.files) - 1, wanted).round().astype(int)
        return replace(self, files=tuple(self.files[index] for index in chosen))


def open_run_rows(uri: str, storage: Storage) -> RunRows:
    """Find a run's files; unit files go first, because they are whole also in the middle of a run.

    Raises:
        ConfigurationError: there are none, or they were not written by a run.
        StorageError: they cannot be listed or read.
    """
    tree = OutputTree.at(uri)
    units = [UnitFile(found.uri) for found in storage.list(tree.units) if found.uri.endswith(".parquet")]
    files: tuple[RunFile, ...] = tuple(units) or tuple(_table_files(storage, tree))
    if not files:
        raise ConfigurationError(
            f"{tree.root}: no units/*.parquet or tables/images/*.parquet below it; name the output of a run "
            "with at least one finished unit"
        )
    about = files[0].columns(storage, ["image_key"]).schema.metadata or {}
    values = {
        key.decode().removeprefix("posrefine."): value.decode()
        for key, value in about.items()
        if key.startswith(b"posrefine.")
    }
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


def _table_files(storage: Storage, tree: OutputTree) -> Iterator[TableFile]:
    folder = tree.table("images", 0).rpartition("/")[0]
    for found in storage.list(folder):
        if found.uri.endswith(".parquet"):
            head, _, tail = found.uri.rpartition("/images/")
            yield TableFile(found.uri, f"{head}/persons/{tail}")


def _structs(table: pa.Table) -> pa.StructArray:
    rows = table.to_struct_array()
    return pa.concat_arrays(rows.chunks) if isinstance(rows, pa.ChunkedArray) and rows.num_chunks else rows


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
