"""The files of people's rows: one an import, read when it is asked for, and told when it is lost."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from pipeline.output.human_log import HumanImport
from pipeline.output.layout import OutputTree
from pipeline.output.parquet import decode_table
from pipeline.output.schema import CORRECTED_SCHEMA, UNIT_SCHEMA
from pipeline.storage import Storage
from pipeline.storage.object_file import PARQUET_ERRORS
from pipeline.storage.ordered_map import map_in_order
from posrefine.errors import ObjectMissing, ShardError

__all__ = ["HUMAN_SCHEMA", "RUN_ID", "HumanFiles"]

logger = logging.getLogger(__name__)

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


@dataclass(frozen=True)
class HumanFiles:
    """Reads the rows of imports. A file that is lost is an error for who must have it, and a warning else.

    Attributes:
        storage: of the output.
        tree: of the output.
    """

    storage: Storage
    tree: OutputTree

    def fetch(self, imports: Iterable[HumanImport]) -> None:
        """Read the files of imports, several at a time, so that what is asked of them is there."""
        missing = {one.digest: one for one in imports if one.digest not in self._files}.values()
        for one, found in zip(missing, map_in_order(self._read, missing, _READERS), strict=True):
            self._files[one.digest] = found

    def table(self, one: HumanImport) -> pa.Table:
        """The rows of an import, with `HUMAN_SCHEMA`.

        Raises:
            ShardError: its file is damaged, or was removed.
        """
        self.fetch([one])
        found = self._files[one.digest]
        if isinstance(found, ShardError):
            raise found
        return found

    def whole(self, one: HumanImport) -> pa.Table | None:
        """The rows of an import; None where its file is lost, which is said aloud, once."""
        self.fetch([one])
        found = self._files[one.digest]
        if not isinstance(found, ShardError):
            return found
        if one.digest not in self._warned:
            logger.warning("%s", found)
            self._warned.add(one.digest)
        return None

    def row(self, one: HumanImport, sha256: str) -> pa.Table | None:
        """What an import says of an image, one row; None as `whole`."""
        table = self.whole(one)
        if table is None:
            return None
        if one.digest not in self._rows:
            shas = table["sha256"].to_pylist()
            self._rows[one.digest] = {sha256: row for row, sha256 in enumerate(shas)}
        return table.slice(self._rows[one.digest][sha256], 1)

    def run_id_of(self, one: HumanImport) -> str:
        """The run whose network had found what is kept with an import."""
        metadata: dict[bytes, bytes] = self.table(one).schema.metadata or {}
        return metadata.get(RUN_ID, b"").decode()

    def named(self, one: HumanImport) -> str:
        """An import for an error: its file, whose it is, what it is called and how large it is."""
        return (
            f"{self.tree.human_rows(one.digest)}: the rows of {one.reviewer}'s import {one.digest[:12]} "
            f"({one.images:,} images)"
        )

    @cached_property
    def _files(self) -> dict[str, pa.Table | ShardError]:
        """What was read so far, by digest."""
        return {}

    @cached_property
    def _rows(self) -> dict[str, dict[str, int]]:
        """Where in their files images are, by digest and sha256."""
        return {}

    @cached_property
    def _warned(self) -> set[str]:
        """Digests of imports whose loss was said."""
        return set()

    def _read(self, one: HumanImport) -> pa.Table | ShardError:
        """The rows, or why they are lost."""
        advice = (
            f"import the same export again, which stores them anew; or put the file back from a copy; or "
            f"`review.py undo --import {one.digest[:12]}` to do without them. What the tables show of them "
            "stays, and other imports are untouched"
        )
        try:
            data = self.storage.read_bytes(self.tree.human_rows(one.digest))
        except ObjectMissing:
            return ShardError(f"{self.named(one)} were removed; {advice}")
        try:
            table = decode_table(data, HUMAN_SCHEMA.names)
        except PARQUET_ERRORS as error:
            return ShardError(f"{self.named(one)} are damaged ({error}); {advice}")
        shas = table["sha256"].to_pylist()
        if len(shas) != one.images or not set(shas) >= (one.keys or {}).keys():
            return ShardError(f"{self.named(one)} are damaged (other images are in the file); {advice}")
        return table.combine_chunks()
