"""What `lock.json` holds: who may write below an output, and how anybody sees that."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from pipeline.settings.problems import problems_of
from pipeline.settings.run import LONGEST_EXPIRY_S
from pipeline.storage import Storage
from pipeline.storage.pinned import read_pinned
from posrefine.errors import ObjectMissing, OutputLocked

__all__ = ["Lease", "LeaseWitness", "process_space", "read_lease", "read_with_etag"]


class Lease(BaseModel):
    """What `lock.json` holds.

    Attributes:
        owner: token of the run that holds the lease.
        host: its machine, for people.
        pid: its process there.
        process_space: machine, boot and process namespace in which `pid` means something.
        renewed_at: the last heartbeat.
        expiry_s: time without a heartbeat after which the lease counts as abandoned; at most a day.
        generation: counts the holders of this output's lease; what a holder writes names it.
        beat: counts the heartbeats of this holder.
        released: whether the holder gave it back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    owner: str
    host: str
    pid: int = Field(ge=1)
    process_space: str
    renewed_at: AwareDatetime
    expiry_s: float = Field(gt=0, le=LONGEST_EXPIRY_S, allow_inf_nan=False)
    generation: int = Field(ge=0)
    beat: int = Field(0, ge=0)
    released: bool = False

    def seems_live(self, now: datetime) -> bool:
        """Whether its run may still be at work, as far as its clock can be trusted.

        A heartbeat from the future is as good as one from the past: some clock is wrong.
        """
        age = abs(now - self.renewed_at)
        return not self.is_free() and age < timedelta(seconds=self.expiry_s)

    def is_free(self) -> bool:
        """Whether nobody holds it: it was given back, or its holder is known to have ended."""
        return self.released or self.holder_is_gone()

    def holder_is_gone(self) -> bool:
        """Whether its process is known to have ended; of other machines nothing is known."""
        return self.process_space == process_space() and not _is_running(self.pid)


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    # Killed, but its parent has not asked how it ended, as some containers' first process never does.
    return state not in "ZX"


def process_space() -> str:
    """Names the set of processes that this one's process ids belong to; empty where it cannot be told."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()}/{boot}/{Path('/proc/self/ns/pid').readlink()}"
    return f"unknown/{uuid4().hex}"


def read_lease(storage: Storage, uri: str) -> Lease | None:
    """The lease at `uri`, live, abandoned or given back; None where nobody ever held it.

    A record that does not parse counts as one that is being written by another version: OutputLocked.
    """
    try:
        return _parse(uri, storage.read_bytes(uri))
    except ObjectMissing:
        return None


@dataclass(frozen=True)
class LeaseWitness:
    """Sees whether a lease is still the one of its run; pickles, so that workers can look as well."""

    storage: Storage
    uri: str
    owner: str

    def confirm(self) -> tuple[Lease, str]:
        """The lease and its etag; `OutputLocked` where the run does not hold it any more."""
        found = read_with_etag(self.storage, self.uri)
        if found is None or found[0].owner != self.owner or found[0].released:
            raise OutputLocked(f"{self.uri}: the lease was lost to another run; finished units are kept")
        return found


def read_with_etag(storage: Storage, uri: str) -> tuple[Lease, str] | None:
    """The lease and its etag, which belong together; None where nobody ever held it.

    Raises:
        OutputLocked: what is there is no lease of this version.
    """
    try:
        data, etag = read_pinned(storage, uri)
    except ObjectMissing:
        return None
    return _parse(uri, data), etag


def _parse(uri: str, data: bytes) -> Lease:
    try:
        return Lease.model_validate_json(data)
    except ValidationError as error:
        raise OutputLocked(
            f"{uri}: no lease of this version ({problems_of(error)}); delete it if no run is at work"
        ) from error
