"""One writer per output: a lease in `lock.json` with a heartbeat, and takeover of a lease nobody renews.

The lease keeps two runs from doing the same work; it is not what keeps results right. Units are committed by
create-only puts, so even a run that lost its lease without noticing cannot write an image twice.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.storage import Storage
from posrefine.errors import ObjectExists, ObjectMissing, OutputLocked, StorageError

__all__ = ["Lease", "RunLock", "read_lease"]

_HEARTBEATS_PER_EXPIRY = 4
# Of two runs that take over the same stale lease, the later put wins; each looks again after this long.
_SETTLE_S = 1.0


class Lease(BaseModel):
    """What `lock.json` holds.

    Attributes:
        owner: token of the run that holds the lease.
        host: its machine, for people.
        pid: its process there.
        process_space: machine, boot and process namespace in which `pid` means something.
        renewed_at: the last heartbeat.
        expiry_s: age of the heartbeat at which the lease counts as abandoned.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    owner: str
    host: str
    pid: int
    process_space: str
    renewed_at: datetime
    expiry_s: float

    def is_live(self, now: datetime) -> bool:
        """Whether its run may still be at work."""
        return not self.holder_is_gone() and now - self.renewed_at < timedelta(seconds=self.expiry_s)

    def holder_is_gone(self) -> bool:
        """Whether its process is known to have ended; of other machines nothing is known."""
        return self.process_space == _process_space() and not _is_running(self.pid)


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    # Killed, but its parent has not asked how it ended, as some containers' first process never does.
    return state not in "ZX"


def _process_space() -> str:
    """Names the set of processes that this one's process ids belong to; empty where it cannot be told."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()}/{boot}/{Path('/proc/self/ns/pid').readlink()}"
    return f"unknown/{uuid4().hex}"


def read_lease(storage: Storage, uri: str) -> Lease | None:
    """The lease at `uri`, live or not; None where there is none.

    A record that does not parse counts as one that is being written by another version: OutputLocked.
    """
    try:
        return Lease.model_validate_json(storage.read_bytes(uri))
    except ObjectMissing:
        return None
    except ValidationError as error:
        raise OutputLocked(
            f"{uri}: no lease of this version ({error}); delete it if no run is at work"
        ) from error


class RunLock:
    """Holds the lease while its `with` block lasts.

    Args:
        storage: of the output.
        uri: of `lock.json`.
        expiry_s: how long the lease lives without a heartbeat.
    """

    def __init__(self, storage: Storage, uri: str, expiry_s: float) -> None:
        self._storage, self._uri, self._expiry_s = storage, uri, expiry_s
        self._owner, self._over, self._lost = uuid4().hex, threading.Event(), threading.Event()
        self._heart = threading.Thread(target=self._beat, name="lock-heartbeat", daemon=True)

    def __enter__(self) -> RunLock:
        """Take the lease.

        Raises:
            OutputLocked: a live run holds it.
        """
        try:
            self._storage.create(self._uri, self._lease())
        except ObjectExists:
            self._take_over()
        self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._heart.join()
        # A lease that cannot be given back expires by itself, and must not hide why the run ended.
        with suppress(StorageError, OutputLocked):
            if self._is_mine():
                self._storage.delete(self._uri)

    def check(self) -> None:
        """Raise `OutputLocked` if another run took the lease, or no heartbeat could be written in time."""
        if self._lost.is_set():
            raise OutputLocked(f"{self._uri}: the lease was lost to another run; finished units are kept")

    def _lease(self) -> bytes:
        lease = Lease(
            owner=self._owner,
            host=socket.gethostname(),
            pid=os.getpid(),
            process_space=_process_space(),
            renewed_at=datetime.now(UTC),
            expiry_s=self._expiry_s,
        )
        return lease.model_dump_json(indent=2).encode()

    def _is_mine(self) -> bool:
        lease = read_lease(self._storage, self._uri)
        return lease is not None and lease.owner == self._owner

    def _take_over(self) -> None:
        lease = read_lease(self._storage, self._uri)
        now = datetime.now(UTC)
        if lease is not None and lease.is_live(now):
            raise self._locked_by(lease, now)
        self._storage.put(self._uri, self._lease())
        time.sleep(_SETTLE_S)
        winner = read_lease(self._storage, self._uri)
        if winner is None or winner.owner != self._owner:
            raise OutputLocked(f"{self._uri}: another run took over the abandoned lease at the same moment")

    def _locked_by(self, lease: Lease, now: datetime) -> OutputLocked:
        age_s = (now - lease.renewed_at).total_seconds()
        return OutputLocked(
            f"{self._uri}: held by process {lease.pid} on {lease.host}, renewed {age_s:.0f} s ago; wait for "
            f"that run, or for the lease to expire after {lease.expiry_s:.0f} s without a heartbeat"
        )

    def _beat(self) -> None:
        last = time.monotonic()
        while not self._over.wait(self._expiry_s / _HEARTBEATS_PER_EXPIRY):
            try:
                if not self._is_mine():
                    self._lost.set()
                    return
                self._storage.put(self._uri, self._lease())
                last = time.monotonic()
            except (StorageError, OutputLocked):
                # One missed beat is no loss; an expired lease is, because another run may hold it by now.
                if time.monotonic() - last > self._expiry_s:
                    self._lost.set()
                    return
