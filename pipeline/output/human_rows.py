"""People's rows: how they are stored, and how they are laid over the network's.

A row stands for the bytes of an image, named by their sha256: it counts wherever these bytes are, under
whatever key, and never for others. Rows are kept with what the network had found, so that this can be told
and had back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from pipeline.output.human_log import HumanImport, HumanLog
from pipeline.output.layout import OutputTree
from pipeline.output.parquet import decode_table
from pipeline.output.schema import (
    CORRECTED_SCHEMA,
    UNIT_SCHEMA,
    as_found,
)
from pipeline.storage import Storage
from pipeline.storage.object_file import PARQUET_ERRORS
from pipeline.storage.ordered_map import map_in_order
from posrefine.errors import ImageStatus, ObjectMissing, ShardError

__all__ = ["HUMAN_SCHEMA", "RUN_ID", "HumanRows", "Place", "put_lists"]

RUN_ID = b"posrefine.run_id"
"""Key of the run whose network found what is kept with people's rows, in the metadata of their file."""

_READERS = 8

HUMAN_SCHEMA = pa.schema(
    [
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("image_key", pa.string(), nullable=False),
        pa.field("matched_by", pa.string(), nullable=False),
        pa.field("generation", pa.int32(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field("place", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        pa.field("error", pa.string()),
        CORRECTED_SCHEMA.field("persons"),
        pa.field("pre_labels", pa.list_(pa.int32()), nullable=False),
        pa.field("found", UNIT_SCHEMA.field("persons").type, nullable=False),
    ]
)
"""One row per image of `review/imports/….parquet`, all of one reviewer.

`image_key`, `generation`, `width` and `height` are of the image when it was imported; `matched_by` is
`sha256` or `image_key`; `place` says where in which file the answer stood. `persons` are the reviewer's, as
they lie in the tables; `pre_labels` says of each which of the network's it is the same as, or null. `found`,
`status` and `error` are the run's own.
"""

Place = tuple[str, int]
"""Of a row: the digest of its import, and its number there."""


@dataclass(frozen=True)
class HumanRows:
    """All that people said about the images of an output. Nothing is read before it is asked for.

    Attributes:
        storage: of the output.
        tree: of the output.
    """

    storage: Storage
    tree: OutputTree

    @cached_property
    def log(self) -> HumanLog:
        """What was imported and undone."""
        return HumanLog(self.storage, self.tree)

    @property
    def version(self) -> int:
        """Entries of the log."""
        return self.log.version

    @cached_property
    def counting(self) -> Mapping[str, Place]:
        """The row that counts for each image, by its sha256."""
        return self._counting_at(self.version)

    def reviewed_keys(self) -> dict[str, str]:
        """The sha256 that each key had when it was reviewed last: where it is another one now, the image was
        replaced since, and nobody has looked at it."""
        return {
            key: sha256
            for one in self.log.active()
            for key, sha256 in zip(
                *(self.table(one)[name].to_pylist() for name in ("image_key", "sha256")), strict=True
            )
        }

    def reviewers(self) -> dict[str, frozenset[str]]:
        """Who has looked at each image, by its sha256."""
        found = defaultdict[str, set[str]](set)
        for one in self.log.active():
            for sha256 in self.table(one)["sha256"].to_pylist():
                found[sha256].add(one.reviewer)
        return {sha256: frozenset(names) for sha256, names in found.items()}

    def table(self, one: HumanImport) -> pa.Table:
        """The rows of an import, with `HUMAN_SCHEMA`.

        Raises:
            ShardError: its file is damaged, or was removed.
        """
        self._fetch([one])
        return self.tables[one.digest]

    def run_id_of(self, one: HumanImport) -> str:
        """The run whose network had found what is kept with an import."""
        metadata: dict[bytes, bytes] = self.table(one).schema.metadata or {}
        return metadata.get(RUN_ID, b"").decode()

    def changed_since(self, version: int) -> frozenset[str]:
        """The sha256 of images for which another row counts than after so many entries, or none."""
        if version == self.version:
            return frozenset()
        before, now = self._counting_at(version), self.counting
        return frozenset(
            sha256 for sha256 in before.keys() | now.keys() if before.get(sha256) != now.get(sha256)
        )

    def over(self, units: pa.Table) -> pa.Table:
        """Rows with `UNIT_SCHEMA` as rows with `CORRECTED_SCHEMA`: people's where there are any.

        An image that failed and was annotated by somebody is ok.
        """
        rows = as_found(units)
        if not self.version:
            return rows
        shas = units["sha256"].to_pylist()
        hits = [row for row, sha256 in enumerate(shas) if sha256 in self.counting]
        if not hits:
            return rows
        places = [self.counting[shas[row]] for row in hits]
        reviewers = {one.digest: one.reviewer for one in self.log.active()}
        source, status, error = (
            np.array(rows[name].to_pylist(), object) for name in ("source", "status", "error")
        )
        source[hits] = [reviewers[digest] for digest, _ in places]
        status[hits], error[hits] = ImageStatus.OK.value, None
        persons = put_lists(rows["persons"].combine_chunks(), hits, self._lists("persons", places))
        columns = {name: rows[name] for name in rows.schema.names}
        said = {"source": source, "status": status, "error": error}
        columns |= {name: pa.array(values, pa.string()) for name, values in said.items()}
        return pa.table(columns | {"persons": persons}, schema=CORRECTED_SCHEMA)

    def _lists(self, name: str, places: Sequence[Place]) -> pa.ListArray:
        """The named column of the rows at these places."""
        columns = {digest: self.tables[digest][name].combine_chunks() for digest, _ in places}
        return pa.concat_arrays([columns[digest].slice(row, 1) for digest, row in places])

    def _counting_at(self, version: int) -> Mapping[str, Place]:
        return self.places(self.log.active(version))

    def places(self, imports: Sequence[HumanImport]) -> Mapping[str, Place]:
        """The last row of these imports about each image, by its sha256."""
        self._fetch(imports)
        return {
            sha256: (one.digest, row)
            for one in imports
            for row, sha256 in enumerate(self.tables[one.digest]["sha256"].to_pylist())
        }

    @cached_property
    def tables(self) -> dict[str, pa.Table]:
        """What was read so far, by digest."""
        return {}

    def _fetch(self, imports: Sequence[HumanImport]) -> None:
        missing = [one for one in imports if one.digest not in self.tables]
        for one, table in zip(missing, map_in_order(self._read, missing, _READERS), strict=True):
            self.tables[one.digest] = table

    def _read(self, one: HumanImport) -> pa.Table:
        uri = self.tree.human_rows(one.digest)
        advice = "put the file back from a copy"
        try:
            table = decode_table(self.storage.read_bytes(uri), HUMAN_SCHEMA.names)
        except ObjectMissing as error:
            raise ShardError(f"{uri}: the rows of {one.reviewer} were removed; {advice}") from error
        except PARQUET_ERRORS as error:
            raise ShardError(f"{uri}: the rows of {one.reviewer} are damaged ({error}); {advice}") from error
        if table.num_rows != one.images:
            raise ShardError(
                f"{uri}: holds {table.num_rows} images of {one.reviewer}, {one.images} were imported; "
                f"{advice}"
            )
        return table


def put_lists(lists: pa.ListArray, rows: Sequence[int], instead: pa.ListArray) -> pa.ListArray:
    """The lists with others at some rows."""
    order = np.arange(len(lists))
    order[list(rows)] = len(lists) + np.arange(len(instead))
    return pa.concat_arrays([lists, instead]).take(pa.array(order))
