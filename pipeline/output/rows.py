"""The rows of a run as they are stored, read back: from unit files or from tables, in one way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.output.counts import TableCounts
from pipeline.output.files import PersonRows, RunFile
from pipeline.output.human_rows import HumanRows
from pipeline.output.network_rows import WHOSE, NetworkRows
from pipeline.output.parquet import decode_stored
from pipeline.output.schema import ImageResult
from pipeline.output.stored_poses import POSE_COLUMNS, RESULT_COLUMNS, image_results, stored_persons
from pipeline.storage import Storage
from pipeline.storage.ordered_map import map_in_order
from posrefine.score_floor import SCORE_FLOOR
from posrefine.skeletons import Skeleton

__all__ = ["RunRows"]


@dataclass(frozen=True)
class RunRows:
    """A run's files, and what their metadata say. Cheap to pickle.

    Attributes:
        uri: of the run.
        skeleton: of the persons.
        model: name of the network.
        weights: what the weights were called.
        weights_sha256: of the weights.
        code_version: of the package that wrote the rows.
        run_id: of the run: a file of another one is an error wherever it is met.
        settings: what decides the rows, by name.
        note: what must be known about the network's poses, such as that they mean nothing.
        files: together they hold every finished image once.
        storage: of the files.
        as_of: the generation that the files are of; None for the last one.
        people: whose rows are replaced by the network's; None where they count.
        counts: of the run's finished tables; None where they are not finished, and of a part of the run.
        opened: bytes by address of the file that said all this, so that it is not read again.
    """

    uri: str
    skeleton: Skeleton
    model: str
    weights: str
    weights_sha256: str
    code_version: str
    run_id: str
    settings: dict[str, Any]
    note: str | None
    files: tuple[RunFile, ...]
    storage: Storage = field(repr=False)
    as_of: int | None = None
    people: HumanRows | None = None
    counts: TableCounts | None = field(default=None, repr=False)
    opened: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def min_score(self) -> float:
        """The score from which the run counts persons."""
        return float(self.settings.get("min_score", SCORE_FLOOR))

    def images(self) -> Iterator[ImageResult]:
        """Every image once, in order, in bounded memory: a few files are held at a time, as their bytes.

        Raises:
            ShardError: a file is damaged or of another run, or images and persons of the tables do not belong
                together.
            StorageError: a file cannot be read.
        """
        joints = self.skeleton.num_joints
        if self.people is not None:
            for rows in self.persons(RESULT_COLUMNS, POSE_COLUMNS):
                yield from image_results(rows.images, stored_persons(rows.persons, joints), rows.per_image)
            return
        for file, data in self._fetched():
            yield from file.decode(data, joints, self.run_id)

    def persons(self, columns: Sequence[str], fields: Sequence[str]) -> Iterator[PersonRows]:
        """Some columns of all images beside some fields of their persons, file by file.

        Raises as `images` does.
        """
        wanted = list(columns) if self.people is None else list(dict.fromkeys([*columns, *WHOSE]))
        network = None if self.people is None else NetworkRows(self.people, self.run_id)
        for file, data in self._fetched():
            rows = file.persons(data, wanted, fields, self.run_id)
            yield rows if network is None else network.instead(rows, file.generation)

    def columns(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """Some columns of all images, file by file; each table has the metadata of its file.

        Raises as `images` does.
        """
        fetched = map_in_order(lambda file: self._read(file.uri), self.files, self.files[0].read_ahead)
        for file, data in zip(self.files, fetched, strict=True):
            yield decode_stored(file.uri, data, names, self.run_id)

    def parts(self, images: int) -> Iterator[RunRows]:
        """The run in parts of about `images` images, in whole files, to be read apart from each other."""
        part, held = list[RunFile](), 0
        for file in self.files:
            if part and held + file.images > images:
                yield self._of(tuple(part))
                part, held = [], 0
            part.append(file)
            held += file.images
        if part:
            yield self._of(tuple(part))

    def sample(self, images: int) -> RunRows:
        """The run with about `images` images at least, in whole files spread evenly over all."""
        total = sum(file.images for file in self.files)
        wanted = max(1, len(self.files) * images // max(1, total))
        if wanted >= len(self.files):
            return self
        chosen = np.linspace(0, len(self.files) - 1, wanted).round().astype(int)
        return self._of(tuple(self.files[index] for index in chosen))

    def _of(self, files: tuple[RunFile, ...]) -> RunRows:
        """The run with these files, and what is opened of them."""
        opened = {file.uri: self.opened[file.uri] for file in files if file.uri in self.opened}
        return replace(self, files=files, counts=None, opened=opened)

    def _read(self, uri: str) -> bytes:
        known = self.opened.get(uri)
        return self.storage.read_bytes(uri) if known is None else known

    def _fetched(self) -> Iterator[tuple[RunFile, tuple[bytes, ...]]]:
        ahead = self.files[0].read_ahead
        yield from zip(
            self.files, map_in_order(lambda file: file.fetch(self._read), self.files, ahead), strict=True
        )
