"""Where a run stands, from storage alone: also while another process runs it, and after a crash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from pipeline.commit import COMMITTED_AT, decode_table
from pipeline.layout import OutputTree
from pipeline.lock import Lease, read_lease
from pipeline.outcome import Outcome, read_outcome
from pipeline.record import RunRecord, require_record
from pipeline.storage import Storage
from posrefine.errors import ImageStatus

__all__ = ["RunStatus", "UnitStatuses", "iter_unit_statuses", "read_status"]

_READERS = 32


@dataclass(frozen=True)
class UnitStatuses:
    """What became of a finished unit's images, and when it was committed."""

    unit_id: str
    statuses: tuple[ImageStatus, ...]
    committed_at: datetime

    @property
    def failed(self) -> int:
        """Images without keypoints."""
        return sum(status is not ImageStatus.OK for status in self.statuses)


@dataclass(frozen=True)
class RunStatus:
    """What storage says about a run.

    Attributes:
        record: what the run is.
        units_done: units with a file.
        images: their images by status.
        first_commit_at: when the first unit was committed; None before.
        last_commit_at: when the last one was.
        lease: the lock, live or abandoned; None where no run is at work.
        outcome: how the last attempt ended; None where none has ended yet.
    """

    record: RunRecord
    units_done: int
    images: dict[ImageStatus, int]
    first_commit_at: datetime | None
    last_commit_at: datetime | None
    lease: Lease | None
    outcome: Outcome | None

    @property
    def images_per_s(self) -> float | None:
        """Over the time between the first and the last commit, pauses included; None where there is none."""
        if self.first_commit_at is None or self.last_commit_at is None:
            return None
        seconds = (self.last_commit_at - self.first_commit_at).total_seconds()
        return sum(self.images.values()) / seconds if seconds > 0 else None

    def lines(self, now: datetime) -> Iterator[str]:
        """The status for people."""
        if self.record.note is not None:
            yield f"note      {self.record.note}"
        run = self.record
        yield f"run       {run.fingerprint.model}, {run.weights}, begun {run.created_at:%c}"
        yield f"units     {self.units_done:,} of {self.record.units:,} done"
        failed = {status: count for status, count in self.images.items() if status is not ImageStatus.OK}
        kinds = ", ".join(f"{count:,} {status.value}" for status, count in sorted(failed.items()))
        yield f"images    {self.images.get(ImageStatus.OK, 0):,} ok, {sum(failed.values()):,} failed"
        if failed:
            yield f"failed    {kinds}"
        if self.images_per_s is not None and self.last_commit_at is not None:
            yield f"speed     {self.images_per_s:,.1f} images/s, last commit {self.last_commit_at:%c}"
        yield f"lock      {self._lock_line(now)}"
        yield f"outcome   {self._outcome_line()}"

    def _lock_line(self, now: datetime) -> str:
        if self.lease is None:
            return "free"
        age_s = (now - self.lease.renewed_at).total_seconds()
        state = "live" if self.lease.is_live(now) else "abandoned"
        return f"{state}: process {self.lease.pid} on {self.lease.host}, renewed {age_s:.0f} s ago"

    def _outcome_line(self) -> str:
        if self.outcome is None:
            return "none yet"
        return f"{self.outcome.result} (exit code {self.outcome.exit_code}): {self.outcome.message}"


def read_status(output: str, storage: Storage) -> RunStatus:
    """Read the status of the run at `output`; reads every unit's file once.

    Raises:
        ConfigurationError: no run has begun there.
        StorageError: the store could not be reached.
    """
    tree = OutputTree.at(output)
    record = require_record(storage, tree)
    images: Counter[ImageStatus] = Counter()
    commits: list[datetime] = []
    units_done = 0
    for unit in iter_unit_statuses(storage, tree):
        images.update(unit.statuses)
        commits = [min([*commits, unit.committed_at]), max([*commits, unit.committed_at])]
        units_done += 1
    return RunStatus(
        record=record,
        units_done=units_done,
        images=dict(images),
        first_commit_at=commits[0] if commits else None,
        last_commit_at=commits[-1] if commits else None,
        lease=read_lease(storage, tree.lock),
        outcome=read_outcome(storage, tree),
    )


def iter_unit_statuses(storage: Storage, tree: OutputTree) -> Iterator[UnitStatuses]:
    """The statuses of every finished unit, read from the units' own files, many at a time."""
    with ThreadPoolExecutor(_READERS) as pool:
        listing = (found.uri for found in storage.list(tree.units))
        while uris := list(islice(listing, _READERS)):
            yield from pool.map(lambda uri: _read_unit(storage, tree, uri), uris)


def _read_unit(storage: Storage, tree: OutputTree, uri: str) -> UnitStatuses:
    table = decode_table(storage.read_bytes(uri), columns=["status"])
    committed_at = datetime.fromisoformat(table.schema.metadata[COMMITTED_AT].decode())
    statuses = tuple(ImageStatus(status) for status in table["status"].to_pylist())
    return UnitStatuses(tree.unit_id(uri), statuses, committed_at.astimezone(UTC))
