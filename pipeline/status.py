"""Where a run stands, from storage alone: also while another process runs it, and after a crash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from statistics import median

from pipeline.commit import COMMITTED_AT, decode_table
from pipeline.layout import OutputTree
from pipeline.lock import Lease, read_lease
from pipeline.outcome import Outcome, read_outcome
from pipeline.record import RunRecord, require_record
from pipeline.storage import Storage
from posrefine.errors import ImageStatus

__all__ = ["RunStatus", "UnitStatuses", "iter_unit_statuses", "read_status"]

_READERS = 32
# A run that is not at work commits nothing: such gaps between commits say nothing about its speed.
_SHORTEST_PAUSE_S = 60.0
_MEDIAN_GAPS_PER_PAUSE = 20


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
        last_commit_at: when the last unit was committed; None before the first.
        working_s: seconds from the first commit to the last, without the pauses between attempts.
        lease: the lock, live or abandoned; None where no run is at work.
        outcome: how the last attempt ended; None where none has ended yet.
    """

    record: RunRecord
    units_done: int
    images: dict[ImageStatus, int]
    last_commit_at: datetime | None
    working_s: float
    lease: Lease | None
    outcome: Outcome | None

    @property
    def images_per_s(self) -> float | None:
        """While it was at work; None before the second commit, which the first time is measured to."""
        if self.working_s <= 0:
            return None
        # What the first commit brought was made before the time that is known.
        return sum(self.images.values()) * (1 - 1 / self.units_done) / self.working_s

    @property
    def remaining_s(self) -> float | None:
        """Estimated seconds of work on the pending units; None where no speed is known."""
        if self.working_s <= 0:
            return None
        return (self.record.units - self.units_done) * self.working_s / (self.units_done - 1)

    def lines(self, now: datetime) -> Iterator[str]:
        """The status for people."""
        if self.record.note is not None:
            yield f"note      {self.record.note}"
        run = self.record
        yield f"run       {run.fingerprint.model}, {run.weights}, begun {run.created_at:%c}"
        yield f"units     {self.units_done:,} of {run.units:,} done, {run.units - self.units_done:,} pending"
        failed = {status: count for status, count in self.images.items() if status is not ImageStatus.OK}
        kinds = ", ".join(f"{count:,} {status.value}" for status, count in sorted(failed.items()))
        yield f"images    {self.images.get(ImageStatus.OK, 0):,} ok, {sum(failed.values()):,} failed"
        if failed:
            yield f"failed    {kinds}"
        if self.images_per_s is not None and self.last_commit_at is not None:
            yield f"speed     {self.images_per_s:,.1f} images/s, last commit {self.last_commit_at:%c}"
        if self.remaining_s:
            yield f"left      about {timedelta(seconds=round(self.remaining_s))} of work at this speed"
        yield f"lock      {self._lock_line(now)}"
        yield f"outcome   {self._outcome_line()}"

    def _lock_line(self, now: datetime) -> str:
        if self.lease is None:
            return "free"
        holder = f"process {self.lease.pid} on {self.lease.host}"
        beat = f"last heartbeat {(now - self.lease.renewed_at).total_seconds():.0f} s ago"
        if self.lease.is_live(now):
            return f"live: {holder}, {beat}"
        end = "is gone" if self.lease.holder_is_gone() else f"is silent for over {self.lease.expiry_s:.0f} s"
        return f"abandoned: {holder} {end}, {beat}; run again to go on"

    def _outcome_line(self) -> str:
        if self.outcome is None:
            return "none yet" if self.lease is None else "none yet of this attempt"
        # A run gives its lease back after it wrote its outcome.
        which = "" if self.lease is None else "of an earlier attempt: "
        return f"{which}{self.outcome.result} (exit code {self.outcome.exit_code}): {self.outcome.message}"


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
    for unit in iter_unit_statuses(storage, tree):
        images.update(unit.statuses)
        commits.append(unit.committed_at)
    return RunStatus(
        record=record,
        units_done=len(commits),
        images=dict(images),
        last_commit_at=max(commits, default=None),
        working_s=_working_s(commits),
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


def _working_s(commits: list[datetime]) -> float:
    """Seconds from the first commit to the last, without gaps that are pauses."""
    gaps_s = [(later - earlier).total_seconds() for earlier, later in pairwise(sorted(commits))]
    if not gaps_s:
        return 0.0
    pause_s = max(_SHORTEST_PAUSE_S, _MEDIAN_GAPS_PER_PAUSE * median(gaps_s))
    return sum(gap_s for gap_s in gaps_s if gap_s < pause_s)
