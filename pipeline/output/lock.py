"""One writer per output: a lease in `lock.json` with a heartbeat, and takeover of a lease nobody renews.

Every change of the lease is a put over the very lease that was read, so two runs never both hold it, on
stores that keep that condition. Whether a lease is abandoned is told by watching whether it changes, by this
process's own clock; the clocks of other machines can only have it respected a little longer.

A process may be stopped at any moment and go on much later, so holding the lease once is not enough: whoever
writes looks just before (`RunLock.confirm`), and writes over what it saw before that look (`OutputWriter`).
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from uuid import uuid4

from pipeline.output.lease import Lease, LeaseWitness, process_space, read_with_etag
from pipeline.storage import Storage
from posrefine.errors import ObjectChanged, ObjectExists, ObjectMissing, OutputLocked, StorageError

__all__ = ["Clock", "RunLock"]

logger = logging.getLogger(__name__)

_HEARTBEATS_PER_EXPIRY = 4
_RENEWALS = 3
_LOOKS_PER_EXPIRY = 20
# On stores without conditional puts, of two runs that take over the same lease the later put wins; each looks
# again after this long.
_SETTLE_S = 1.0


class Clock:
    """The time as this process sees it."""

    def seconds(self) -> float:
        """Never go back, and go on while the machine is suspended, where there is such a clock."""
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

    def now(self) -> datetime:
        """The time of day, which other machines see otherwise."""
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class RunLock:
    """Holds the lease while its `with` block lasts.

    Args:
        storage: of the output.
        uri: of `lock.json`.
        expiry_s: how long the lease lives without a heartbeat.
        patient: whether a lease that may be abandoned is watched for its expiry; if not, it is respected.
        clock: the time.
        beats: whether a thread renews the lease; if not, `beat` must be called.
    """

    def __init__(
        self,
        storage: Storage,
        uri: str,
        expiry_s: float,
        *,
        patient: bool = True,
        clock: Clock = Clock(),  # noqa: B008 - holds nothing
        beats: bool = True,
    ) -> None:
        self._storage, self._uri, self._expiry_s = storage, uri, expiry_s
        self._patient, self._clock, self._beats = patient, clock, beats
        self.witness = LeaseWitness(storage, uri, uuid4().hex)
        self.generation = 0
        # A heartbeat that hangs must end long before the lease does.
        quick_s = expiry_s / _HEARTBEATS_PER_EXPIRY
        options = replace(
            storage.options,
            deadline_s=min(storage.options.deadline_s, quick_s),
            connect_timeout_s=min(storage.options.connect_timeout_s, quick_s),
            read_timeout_s=min(storage.options.read_timeout_s, quick_s),
        )
        self._quick = replace(self.witness, storage=replace(storage, options=options))
        self._over, self._lost = threading.Event(), threading.Event()
        self._last = 0.0
        self._heart = threading.Thread(target=self._beat_on, name="lock-heartbeat", daemon=True)

    def __enter__(self) -> RunLock:
        """Take the lease.

        Raises:
            OutputLocked: another run holds it.
        """
        self._last = self._clock.seconds()
        try:
            self._storage.create(self._uri, self._lease(1))
            self.generation = 1
        except ObjectExists:
            self._take_over()
        if self._beats:
            self._heart.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._beats:
            self._heart.join()
        # A lease that cannot be given back expires by itself, and must not hide why the run ended.
        with suppress(StorageError, OutputLocked):
            lease, etag = self._quick.confirm()
            self._storage.replace(
                self._uri, self._lease(self.generation, lease.beat + 1, released=True), etag
            )

    def check(self) -> None:
        """Raise `OutputLocked` if another run took the lease, or no heartbeat could be written in time."""
        if self._clock.seconds() - self._last > self._expiry_s:
            self._lost.set()
        if self._lost.is_set():
            raise OutputLocked(f"{self._uri}: the lease was lost to another run; finished units are kept")

    def confirm(self) -> None:
        """Look into the store; `OutputLocked` unless the lease is there and this run's own."""
        self.check()
        try:
            self.witness.confirm()
        except OutputLocked:
            self._lost.set()
            raise
        self.check()

    def beat(self) -> None:
        """One heartbeat. The lease is lost, not taken back, where it came too late."""
        if self._lost.is_set():
            return
        sent = self._clock.seconds()
        if sent - self._last > self._expiry_s:
            self._lost.set()
            return
        try:
            self._renew()
            self._last = sent
        except (OutputLocked, ObjectChanged, ObjectMissing):
            self._lost.set()
        except StorageError:
            # One missed beat is no loss; an expired lease is, because another run may hold it by now.
            if self._clock.seconds() - self._last > self._expiry_s:
                self._lost.set()

    def _renew(self) -> None:
        """Put the next beat; raises where the lease is not this run's any more."""
        for attempt in range(_RENEWALS):
            lease, etag = self._quick.confirm()
            try:
                self._quick.storage.replace(self._uri, self._lease(self.generation, lease.beat + 1), etag)
                return
            except ObjectChanged:
                # An earlier beat of this run whose reply was lost may arrive between look and put: whose the
                # lease is now decides, not that it changed.
                if attempt == _RENEWALS - 1:
                    raise

    def _beat_on(self) -> None:
        while not self._over.wait(self._expiry_s / _HEARTBEATS_PER_EXPIRY) and not self._lost.is_set():
            self.beat()

    def _lease(self, generation: int, beat: int = 0, *, released: bool = False) -> bytes:
        lease = Lease(
            owner=self.witness.owner,
            host=socket.gethostname(),
            pid=os.getpid(),
            process_space=process_space(),
            renewed_at=self._clock.now(),
            expiry_s=self._expiry_s,
            generation=generation,
            beat=beat,
            released=released,
        )
        return lease.model_dump_json(indent=2).encode()

    def _take_over(self) -> None:
        found = read_with_etag(self._storage, self._uri)
        if found is None:
            raise OutputLocked(f"{self._uri}: came and went while this run looked; run again")
        lease, etag = found
        if not lease.is_free():
            self._watch(lease, etag)
        self._last, self.generation = self._clock.seconds(), lease.generation + 1
        try:
            self._storage.replace(self._uri, self._lease(self.generation), etag)
        except (ObjectChanged, ObjectMissing) as error:
            raise self._beaten() from error
        if not self._storage.options.conditional_replaces:
            self._clock.sleep(_SETTLE_S)
            try:
                self.witness.confirm()
            except OutputLocked as error:
                raise self._beaten() from error

    def _watch(self, lease: Lease, etag: str) -> None:
        """Return once the lease was seen unchanged for as long as it lives; `OutputLocked` if it changes."""
        if not self._patient or lease.seems_live(self._clock.now()):
            raise self._held_by(lease)
        logger.warning(
            "%s: held by process %d on %s, which seems to be gone; taken over if nothing changes for %g s",
            *(self._uri, lease.pid, lease.host, lease.expiry_s),
        )
        until = self._clock.seconds() + lease.expiry_s
        while self._clock.seconds() < until:
            self._clock.sleep(lease.expiry_s / _LOOKS_PER_EXPIRY)
            found = read_with_etag(self._storage, self._uri)
            if found is None or found[1] != etag:
                raise self._held_by(lease if found is None else found[0])

    def _held_by(self, lease: Lease) -> OutputLocked:
        age_s = (self._clock.now() - lease.renewed_at).total_seconds()
        return OutputLocked(
            f"{self._uri}: held by process {lease.pid} on {lease.host}, renewed {age_s:.0f} s ago; wait for "
            f"that run, or for the lease to expire after {lease.expiry_s:.0f} s without a heartbeat"
        )

    def _beaten(self) -> OutputLocked:
        return OutputLocked(f"{self._uri}: another run took over the abandoned lease at the same moment")
