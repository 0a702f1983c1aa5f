"""What lies below an output, by its name: `RunOutput` is the one reader of it."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa
from pydantic import ValidationError

from pipeline.inputs.changes import Changes, changes_of
from pipeline.inputs.cutting import CutOptions
from pipeline.inputs.inventory import Known, known_of_file, known_of_manifest
from pipeline.inputs.manifest import Manifest
from pipeline.inputs.units import Unit
from pipeline.output.counts import TableCounts
from pipeline.output.files import PersonRows, UnitFile, list_all_units, list_units
from pipeline.output.generations import FIRST_GENERATION, Generation, read_generations
from pipeline.output.human_rows import HumanRows
from pipeline.output.layout import WORK, OutputTree
from pipeline.output.lease import Lease, read_lease
from pipeline.output.lock import RunLock
from pipeline.output.outcome import Outcome
from pipeline.output.place import Place
from pipeline.output.record import RunRecord
from pipeline.output.row_files import open_rows
from pipeline.output.rows import RunRows
from pipeline.output.schema import ImageResult
from pipeline.output.table_log import TableLog
from pipeline.settings.problems import problems_of
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, InvariantBroken, ObjectMissing

__all__ = ["RunOutput", "Source"]

logger = logging.getLogger(__name__)

Source = Literal["corrected", "model"]


@dataclass(frozen=True)
class RunOutput(Place):
    """The output of a run. Cheap to pickle: what it holds is not read before it is asked for.

    Attributes:
        as_of: the generation whose rows are read; None for the last one.
        source: whose rows are read: people's where they corrected an image, or the network's alone.
    """

    as_of: int | None = None
    source: Source = "corrected"

    @staticmethod
    def at(uri: str, storage: Storage, as_of: int | None = None, source: Source = "corrected") -> RunOutput:
        """The output that the user named, with the rows of the last generation or of an older one.

        Where its tables are made from is read: it changes when the network is replaced.
        """
        tree = OutputTree.at(uri)
        try:
            found = json.loads(storage.read_bytes(tree.success)).get("work", "")
        except (ObjectMissing, ValueError, AttributeError, RecursionError):
            found = None
        # What is there instead of counts is told to those who ask for them.
        work = found if isinstance(found, str) and re.fullmatch(WORK, found) else ""
        return RunOutput(storage, replace(tree, work=work), as_of, source)

    @staticmethod
    def rows_at(
        uri: str,
        storage: Storage,
        as_of: int | None = None,
        source: Source = "corrected",
        *,
        units_first: bool = False,
    ) -> RunRows:
        """The rows alone of the output that the user named, as `rows` gives them.

        `_SUCCESS.json` is read once: what is made of it are rows, whose place it says itself.
        """
        return RunOutput(storage, OutputTree.at(uri), as_of, source).rows(units_first=units_first)

    @staticmethod
    def of_rows(rows: RunRows) -> RunOutput:
        """The output of rows that are open; what they know of it is not read again."""
        work = "" if rows.counts is None else rows.counts.work
        return RunOutput(rows.storage, replace(OutputTree.at(rows.uri), work=work), rows.as_of)

    @property
    def uri(self) -> str:
        """Its address, in its one spelling."""
        return self.tree.root

    def record(self) -> RunRecord | None:
        """What the run is; None where none has begun.

        Raises:
            ConfigurationError: what is there is no run record of this version.
        """
        try:
            return RunRecord.model_validate_json(self.storage.read_bytes(self.tree.run))
        except ObjectMissing:
            return None
        except ValidationError as error:
            raise ConfigurationError(
                f"{self.tree.run}: no run record of this version ({problems_of(error)})"
            ) from error

    def require_record(self) -> RunRecord:
        """What the run is; `ConfigurationError` where none has begun."""
        record = self.record()
        if record is None:
            raise ConfigurationError(f"{self.uri}: no run has begun there (no run.json); correct --output")
        return record

    def require_own_place(self) -> None:
        """Raise `ConfigurationError` where the output lies among the files of another run."""
        parts = self.uri.split("/")
        for depth, part in enumerate(parts):
            if part not in ("units", "tables", "generations", "review"):
                continue
            around = OutputTree("/".join(parts[:depth]))
            if depth and (self.storage.exists(around.run) or self.storage.exists(around.success)):
                raise ConfigurationError(
                    f"{self.uri} lies inside {around.root}, the output of another run; "
                    "choose another --output"
                )

    def manifest(self, record: RunRecord) -> Manifest:
        """The frozen list of units of the run whose record this is.

        Raises:
            InvariantBroken: it is gone, or is not the one that the run began with.
        """
        return self.manifest_of(Generation.first(record))

    def of(self, generation: int) -> RunOutput:
        """The output with the units of that generation."""
        return replace(self, tree=replace(self.tree, generation=generation))

    def manifest_of(self, generation: Generation) -> Manifest:
        """The frozen list of units of a generation.

        Raises:
            InvariantBroken: it is gone, or is not the one that was planned.
        """
        own, is_first = self.of(generation.number).tree, generation.number == FIRST_GENERATION
        uri = own.manifest(generation.manifest_digest)
        said_by, then = (own.run, "choose") if is_first else (own.record, "sync")
        try:
            manifest = Manifest.open(uri, self.storage)
        except ObjectMissing as error:
            raise InvariantBroken(f"{uri}: gone, though {said_by} is there; {then} a new --output") from error
        found, record = manifest.summary, said_by.rpartition("/")[2]
        if found.digest != generation.manifest_digest:
            raise InvariantBroken(
                f"{uri}: digest {found.digest}, but {record} says {generation.manifest_digest}; one of "
                f"them was replaced: {then} a new --output"
            )
        for what, has, said in (
            ("units", found.units, generation.units),
            ("for its first unit number", found.first_unit, generation.first_unit),
        ):
            if has != said:
                raise InvariantBroken(
                    f"{uri}: has {has} {what}, but {record} says {said}; one of them was replaced: put it "
                    f"back, or {then} a new --output"
                )
        return manifest

    def unit(self, record: RunRecord, unit_id: str) -> Unit:
        """The unit of that id, of whichever generation; `ConfigurationError` if there is none."""
        planned = self.generations(record)
        for generation in planned[1:]:
            if unit_id in generation.unit_ids:
                return self.manifest_of(generation).unit(unit_id)
        return self.manifest_of(planned[0]).unit(unit_id)

    def generations(self, record: RunRecord) -> list[Generation]:
        """All generations that were planned, from the first on, finished or not.

        Raises:
            ConfigurationError: one was not written by this version.
            InvariantBroken: one is missing, or says other units than its list has.
        """
        planned = read_generations(self, record)
        # Numbers of units follow one another, so that a list found true vouches for all before it.
        if len(planned) > 1:
            self.manifest_of(planned[-1])
        return planned

    def known(self, last: Generation, root: str) -> Iterator[Known]:
        """What it holds of its input with its last generation, in key order; `root` is the input's folder."""
        if last.inventory_digest is None:
            return known_of_manifest(self.manifest_of(last), root, last.number)
        return known_of_file(self.of(last.number).tree.inventory(last.inventory_digest), self.storage)

    @contextmanager
    def changes(
        self, input_uri: str, options: CutOptions, planned: Sequence[Generation]
    ) -> Iterator[Changes]:
        """What became of the input since the last of these generations; raises as `changes_of` does."""
        last = planned[-1]
        with changes_of(
            input_uri,
            self.storage,
            options,
            lambda root: self.known(last, root),
            last.number + 1,
            last.first_unit + last.units,
        ) as changes:
            yield changes

    def finished_generations(self, record: RunRecord) -> list[Generation]:
        """Those that the tables hold; where the tables are not finished, all that were planned."""
        counts, planned = self.counts(), self.generations(record)
        return planned if counts is None else planned[: counts.generation]

    def lock(self, expiry_s: float, *, patient: bool = True) -> RunLock:
        """The lease on the output, to be held by a `with` block; see `RunLock`."""
        return RunLock(self.storage, self.tree.lock, expiry_s, patient=patient)

    def lease(self) -> Lease | None:
        """Who holds the output, alive or not; None for nobody.

        Raises:
            OutputLocked: what is there is no lease of this version.
        """
        lease = read_lease(self.storage, self.tree.lock)
        return None if lease is None or lease.released else lease

    def outcome(self) -> Outcome | None:
        """How the last attempt ended; None where none has, or this version cannot read it."""
        try:
            return Outcome.model_validate_json(self.storage.read_bytes(self.tree.outcome))
        except (ObjectMissing, ValidationError):
            return None

    def counts(self) -> TableCounts | None:
        """The counts of finished tables; None where the tables are not finished.

        Raises:
            ConfigurationError: what is there was not written by this version.
        """
        try:
            return TableCounts.model_validate_json(self.storage.read_bytes(self.tree.success))
        except ObjectMissing:
            return None
        except ValidationError as error:
            raise ConfigurationError(
                f"{self.tree.success}: not of this version ({problems_of(error)})"
            ) from error

    def has_tables(self) -> bool:
        """Whether the tables are finished."""
        return self.storage.exists(self.tree.success)

    def human_rows(self) -> HumanRows:
        """What people said about its images."""
        return HumanRows(self.storage, self.tree)

    def unit_etags(self, last: int) -> dict[str, str]:
        """Of the files of the finished units of all generations up to the last, by unit."""
        return {file.unit_id: file.etag for number, file in self.all_unit_files() if number <= last}

    def all_unit_files(self, strangers: list[str] | None = None) -> Iterator[tuple[int, UnitFile]]:
        """The files of the finished units of all generations, each with the number of its own.

        `strangers` is as in `unit_files`.
        """
        return list_all_units(self, strangers)

    def unit_files(self, strangers: list[str] | None = None) -> Iterator[UnitFile]:
        """The files of the finished units, in the order of their ids.

        Names of whatever else lies among them are added to `strangers`; they count as nothing.
        """
        return list_units(self, strangers)

    def unit_ids(self) -> Iterator[str]:
        """The ids of the finished units, in order."""
        return (file.unit_id for file in self.unit_files())

    def log(self, table: str) -> TableLog:
        """The log of the table `images` or `persons`."""
        return TableLog(self.storage, self.tree.table_folder(table), self.tree.app)

    def table_etags(self, table: str) -> dict[str, str]:
        """Of every object below the folder of the table `images` or `persons`, by its path there."""
        folder = self.tree.table_folder(table)
        return {info.uri.removeprefix(folder).lstrip("/"): info.etag for info in self.storage.list(folder)}

    def rows(self, *, units_first: bool = False) -> RunRows:
        """The run's files that hold every finished image once: its tables if finished, else its units.

        Tables whose `_SUCCESS.json` was not copied with them are taken where nothing else is there.

        Args:
            units_first: take the units as long as there are any: smaller files, to be shared out.

        Raises:
            ConfigurationError: there are none, or they were not written by a run of this version.
            ShardError: the first of them is damaged.
            StorageError: they cannot be listed or read.
        """
        people, counts, tree = self.human_rows() if self.source == "model" else None, self.counts(), self.tree
        if counts is None and people is None and (corrections := self.human_rows().version):
            logger.warning(
                "%s: its tables are not finished, and %d imports of corrections, which lie over them, "
                "are in nothing that is read: `annotate.py finalize --output %s` lays them there",
                self.uri,
                corrections,
                self.uri,
            )
        if counts is not None:
            # The network may have been replaced since the tree was read.
            tree = replace(tree, work=counts.work)
        return open_rows(
            Place(self.storage, tree), counts, self.as_of, people=people, units_first=units_first
        )

    def images(self) -> Iterator[ImageResult]:
        """Every finished image once, in order, in bounded memory; raises as `rows` does."""
        return self.rows().images()

    def persons(self, columns: Sequence[str], fields: Sequence[str]) -> Iterator[PersonRows]:
        """Columns of every finished image and fields of its persons, file by file; raises as `rows` does."""
        return self.rows().persons(columns, fields)

    def columns(self, names: Sequence[str]) -> Iterator[pa.Table]:
        """Some columns of every finished image, file by file; raises as `rows` does."""
        return self.rows().columns(names)
