"""How the holder of an output's lease writes over what may lie there: it looks before every put."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline.inputs.changes import Changes
from pipeline.inputs.cutting import CutOptions
from pipeline.inputs.manifest import Manifest, planned_manifest
from pipeline.output.counts import TableCounts
from pipeline.output.generations import Generation
from pipeline.output.lock import RunLock
from pipeline.output.outcome import Outcome
from pipeline.output.record import RunRecord
from pipeline.output.run_output import RunOutput
from posrefine.errors import ObjectChanged, ObjectExists, ObjectMissing, OutputLocked
from posrefine.version import code_version

__all__ = ["OutputWriter", "writing"]

_TRIES = 8


@dataclass(frozen=True)
class OutputWriter:
    """Writes below an output under its lease.

    A process may be stopped between looking and writing, and go on when the output is another run's. So it
    first looks what lies at the address, then whether the lease is still its own, and then puts over what it
    saw: whoever took the lease in between and wrote there has changed that. (On a store without conditional
    puts the moment between look and put remains; what is written then is found out by `finalize`.)

    Attributes:
        output: where to write.
        lock: the lease.
    """

    output: RunOutput
    lock: RunLock

    def of(self, generation: int) -> OutputWriter:
        """The writer for the units of that generation."""
        return replace(self, output=self.output.of(generation))

    def plan(self, changes: Changes, planned: Sequence[Generation]) -> Generation:
        """Store what the next generation is, for good.

        Raises:
            OutputLocked: the lease was lost, or another process planned it meanwhile.
        """
        number, storage = planned[-1].number + 1, self.output.storage
        tree = self.output.of(number).tree
        inventory, gone = (_file_digest(path) for path in (changes.inventory, changes.gone))
        for uri, path in (
            (tree.manifest(changes.units.digest), changes.manifest),
            (tree.inventory(inventory), changes.inventory),
            (tree.gone(gone), changes.gone),
        ):
            self.lock.confirm()
            # One of that name is the same: a sync that died, or a reply that was lost.
            with suppress(ObjectExists):
                storage.create_file(uri, path)
        generation = Generation(
            number=number,
            root=changes.root,
            manifest_digest=changes.units.digest,
            inventory_digest=inventory,
            gone_digest=gone,
            first_unit=changes.units.first_unit,
            units=changes.units.units,
            images=changes.units.images,
            input_bytes=changes.units.size_bytes,
            skipped=changes.units.skipped,
            new=changes.new,
            stale=changes.stale,
            orphaned=changes.orphaned,
            known=changes.known,
            objects=changes.objects,
            planned_at=datetime.now(UTC),
            code_version=code_version(),
            lease_generation=self.lock.generation,
        )
        self.commit(tree.record, generation.encode())
        return generation

    def manifest(self, input_uri: str, options: CutOptions) -> Manifest:
        """Cut the input into units, and store the list under its own digest.

        Raises:
            ConfigurationError: there is nothing to read.
            OutputLocked: the lease was lost meanwhile.
        """
        storage = self.output.storage
        with planned_manifest(input_uri, storage, options) as (path, summary):
            uri = self.output.tree.manifest(summary.digest)
            self.lock.confirm()
            # One of that name is the same list: a run that died, or a reply that was lost.
            with suppress(ObjectExists):
                storage.create_file(uri, path)
        return Manifest.open(uri, storage)

    def begin(self, record: RunRecord) -> None:
        """Store what the run is, for good; `OutputLocked` where another run has begun meanwhile."""
        record = record.model_copy(update={"lease_generation": self.lock.generation})
        self.lock.confirm()
        try:
            self.output.storage.create(self.output.tree.run, record.encode())
        except ObjectExists as error:
            raise OutputLocked(
                f"{self.output.tree.run}: another run began this output in the meantime; run again"
            ) from error

    def keep(self, uri: str, kept: str) -> bool:
        """Copy an object to another place; whether it was there."""
        try:
            data = self.output.storage.read_bytes(uri)
        except ObjectMissing:
            return False
        self.lock.confirm()
        self.output.storage.create(kept, data)
        return True

    def commit(self, uri: str, data: bytes) -> None:
        """Store a commit of a table's log; `OutputLocked` where another process was faster."""
        self.lock.confirm()
        try:
            self.output.storage.create(uri, data)
        except ObjectExists as error:
            self.lock.confirm()
            raise OutputLocked(
                f"{uri}: written by another process in the meantime; end it, and run again"
            ) from error

    def human_rows(self, digest: str, data: bytes) -> None:
        """Store the rows of an import, which count once the log names them.

        One of that name says the same, or was damaged since.
        """
        self._put(self.output.tree.human_rows(digest), data)

    def over(self, uri: str, data: bytes) -> None:
        """Store an object that others are led by, over the one that was there."""
        self._put(uri, data)

    def forget_inventory(self, generation: Generation) -> None:
        """Remove what was known with a generation that another one has followed."""
        if generation.inventory_digest is not None:
            self.remove(self.output.of(generation.number).tree.inventory(generation.inventory_digest))

    def remove(self, uri: str) -> None:
        """Remove an object that nothing names any more."""
        self.lock.confirm()
        self.output.storage.delete(uri)

    def success(self, counts: TableCounts) -> TableCounts:
        """Declare the tables finished; the counts as stored, with the lease's generation."""
        counts = counts.model_copy(update={"lease_generation": self.lock.generation})
        self._put(self.output.tree.success, counts.model_dump_json(indent=2).encode())
        return counts

    def outcome(self, outcome: Outcome) -> None:
        """Store how this attempt ended."""
        outcome = outcome.model_copy(update={"lease_generation": self.lock.generation})
        self._put(self.output.tree.outcome, outcome.encode())

    def first_outcome(self, outcome: Outcome) -> None:
        """Store how this attempt ended, unless there is an outcome already."""
        outcome = outcome.model_copy(update={"lease_generation": self.lock.generation})
        self.lock.confirm()
        with suppress(ObjectExists):
            self.output.storage.create(self.output.tree.outcome, outcome.encode())

    def _put(self, uri: str, data: bytes) -> str:
        storage = self.output.storage
        for _ in range(_TRIES):
            try:
                there = storage.head(uri).etag
            except ObjectMissing:
                there = None
            self.lock.confirm()
            try:
                return storage.create(uri, data) if there is None else storage.replace(uri, data, there)
            except (ObjectChanged, ObjectExists, ObjectMissing):
                # A run that lost the lease before it could write here; or this one has, and the next look
                # at the lease will tell.
                continue
        raise OutputLocked(f"{uri}: other processes keep on writing there; end them, and run again")


@contextmanager
def writing(output: RunOutput, expiry_s: float, *, patient: bool = True) -> Iterator[OutputWriter]:
    """Holds the output's lease while the block lasts.

    Args:
        output: to write to; whether its store keeps conditions is found out first.
        expiry_s: how long the lease lives without a heartbeat.
        patient: whether a lease that may be abandoned is watched for as long as it lives.

    Raises:
        OutputLocked: another run holds it, or has replaced its network.
    """
    output = RunOutput(output.storage.probe_conditions(output.uri), output.tree)
    with output.lock(expiry_s, patient=patient) as lock:
        if RunOutput.at(output.uri, output.storage).tree.work != output.tree.work:
            raise OutputLocked(f"{output.uri}: its network was replaced in the meantime; run again")
        yield OutputWriter(output, lock)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
