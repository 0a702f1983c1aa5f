"""People's rows: how they are stored, and how they are laid over the network's.

A row stands for the bytes of an image, named by their sha256: it counts wherever these bytes are, under
whatever key, and never for others. Rows are kept with what the network had found, so that this can be told
and had back.

Which image an import is about stands in the log, so a file of rows that was lost stops what needs these very
rows, and nothing else.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from pipeline.output.human_files import HumanFiles
from pipeline.output.human_log import HumanImport, HumanLog
from pipeline.output.layout import OutputTree
from pipeline.output.schema import (
    CORRECTED_SCHEMA,
    as_found,
)
from pipeline.storage import Storage
from posrefine.errors import ImageStatus, ShardError

__all__ = ["HumanRows", "Published", "put_lists"]

Published = Callable[[str, Mapping[str, str]], Mapping[str, pa.ListArray]]
"""Gives persons as the tables hold them, by sha256: of a reviewer's images, of those with these sha256."""


@dataclass(frozen=True)
class HumanRows:
    """All that people said about the images of an output. Nothing is read before it is asked for.

    Attributes:
        storage: of the output.
        tree: of the output.
        published: what the tables hold, and the entries of the log that they were made with: where the file
            of an import is lost, its rows are taken from there. None where they shall not be.
    """

    storage: Storage
    tree: OutputTree
    published: tuple[Published, int] | None = None

    @cached_property
    def log(self) -> HumanLog:
        """What was imported and undone."""
        return HumanLog(self.storage, self.tree)

    @cached_property
    def files(self) -> HumanFiles:
        """The rows of each import."""
        return HumanFiles(self.storage, self.tree)

    @property
    def version(self) -> int:
        """Entries of the log."""
        return self.log.version

    @cached_property
    def counting(self) -> Mapping[str, str]:
        """The import that counts for each image, by their digest and sha256."""
        return self._counting_at(self.version)

    def reviewed_keys(self) -> dict[str, str]:
        """The sha256 that each key had when it was reviewed last: where it is another one now, the image was
        replaced since, and nobody has looked at it."""
        return {key: sha256 for one in self.log.active() for sha256, key in self.keys(one).items()}

    def reviewers(self) -> dict[str, frozenset[str]]:
        """Who has looked at each image, by its sha256."""
        found = defaultdict[str, set[str]](set)
        for one in self.log.active():
            for sha256 in self.keys(one):
                found[sha256].add(one.reviewer)
        return {sha256: frozenset(names) for sha256, names in found.items()}

    def keys(self, one: HumanImport) -> Mapping[str, str]:
        """The sha256 of an import's images, each with the key that it had.

        Raises:
            ShardError: the log does not say it, and the import's file is lost.
        """
        if one.keys is not None:
            return one.keys
        columns = (self.files.table(one)[name].to_pylist() for name in ("sha256", "image_key"))
        return dict(zip(*columns, strict=True))

    def say_what_is_missing(self) -> None:
        """Warn of imports that count and whose files are gone, whether anybody needs them or not."""
        there = {info.uri for info in self.storage.list(self.tree.imports)} if self.version else set()
        for one in self.log.active() if self.version else ():
            if self.tree.human_rows(one.digest) not in there:
                self.files.whole(one)

    def require_without(self, undone: Iterable[HumanImport]) -> None:
        """Raise unless the rows can be read that count instead of these imports'.

        Raises:
            ShardError: the file of one of them is damaged, or was removed.
        """
        gone = {one.digest for one in undone}
        left = {one.digest: one for one in self.log.active() if one.digest not in gone}
        after = self.latest(left.values())
        needed = {after[sha256] for sha256, now in self.counting.items() if now in gone and sha256 in after}
        for digest in sorted(needed):
            self.files.table(left[digest])

    def changed_since(self, version: int) -> frozenset[str]:
        """The sha256 of images for which another import counts than after so many entries, or none."""
        if version == self.version:
            return frozenset()
        before, now = self._counting_at(version), self.counting
        return frozenset(
            sha256 for sha256 in before.keys() | now.keys() if before.get(sha256) != now.get(sha256)
        )

    def over(self, units: pa.Table) -> pa.Table:
        """Rows with `UNIT_SCHEMA` as rows with `CORRECTED_SCHEMA`: people's where there are any.

        An image that failed and was annotated by somebody is ok.

        Raises:
            ShardError: the file of an import that counts for one of them is damaged or was removed, and the
                tables do not hold what it said.
        """
        rows = as_found(units)
        if not self.version:
            return rows
        shas = units["sha256"].to_pylist()
        hits = [row for row, sha256 in enumerate(shas) if sha256 in self.counting]
        if not hits:
            return rows
        counting = [self._active[self.counting[shas[row]]] for row in hits]
        self.files.fetch(counting)
        said = pa.concat_arrays(
            [self._persons(one, shas[row]) for one, row in zip(counting, hits, strict=True)]
        )
        source, status, error = (
            np.array(rows[name].to_pylist(), object) for name in ("source", "status", "error")
        )
        source[hits] = [one.reviewer for one in counting]
        status[hits], error[hits] = ImageStatus.OK.value, None
        persons = put_lists(rows["persons"].combine_chunks(), hits, said)
        columns = {name: rows[name] for name in rows.schema.names}
        states = {"source": source, "status": status, "error": error}
        columns |= {name: pa.array(values, pa.string()) for name, values in states.items()}
        return pa.table(columns | {"persons": persons}, schema=CORRECTED_SCHEMA)

    def latest(self, imports: Iterable[HumanImport]) -> dict[str, str]:
        """The last of these imports about each image, by their digest and sha256."""
        return {sha256: one.digest for one in imports for sha256 in self.keys(one)}

    def _counting_at(self, version: int) -> Mapping[str, str]:
        return self.latest(self.log.active(version))

    @cached_property
    def _active(self) -> Mapping[str, HumanImport]:
        return {one.digest: one for one in self.log.active()}

    @cached_property
    def _kept(self) -> dict[str, Mapping[str, pa.ListArray]]:
        """Persons of lost imports that the tables hold, by digest and sha256."""
        return {}

    def _persons(self, one: HumanImport, sha256: str) -> pa.ListArray:
        """Those of an image, as a list of one list."""
        row = self.files.row(one, sha256)
        if row is not None:
            return row["persons"].combine_chunks()
        if one.digest not in self._kept:
            self._kept[one.digest] = self._of_tables(one)
        if sha256 not in self._kept[one.digest]:
            raise ShardError(
                f"{self.files.named(one)} are lost, and needed for {self.keys(one)[sha256]}, of which the "
                "tables do not hold them: put the file back from a copy; or "
                f"`review.py undo --import {one.digest[:12]}`, run this again, and import the export anew"
            )
        return self._kept[one.digest][sha256]

    def _of_tables(self, one: HumanImport) -> Mapping[str, pa.ListArray]:
        if self.published is None:
            return {}
        read, version = self.published
        counting = self._counting_at(version)
        held = {sha: key for sha, key in self.keys(one).items() if counting.get(sha) == one.digest}
        return read(one.reviewer, held)


def put_lists(lists: pa.ListArray, rows: Sequence[int], instead: pa.ListArray) -> pa.ListArray:
    """The lists with others at some rows."""
    order = np.arange(len(lists))
    order[list(rows)] = len(lists) + np.arange(len(instead))
    return pa.concat_arrays([lists, instead]).take(pa.array(order))
