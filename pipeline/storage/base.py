"""What a kind of store has to offer to `pipeline.storage.Storage`, and the types they share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

__all__ = ["ObjectInfo", "StorageOptions", "Store"]


@dataclass(frozen=True)
class StorageOptions:
    """How patiently storage is used; never an address or a secret (those come from the AWS environment or
    chain).

    One call ends at the latest `deadline_s` plus its size at `slowest_bytes_per_s` after it began, whatever
    the store does.
    """

    deadline_s: float = 120.0
    slowest_bytes_per_s: float = 1024.0 * 1024.0
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 30.0
    """Longest silence of a socket within one attempt."""
    attempts: int = 2
    """Attempts of the S3 client per request; above it, requests are repeated until the deadline."""
    first_answer_s: float | None = field(default=8.0, compare=False)
    """A store that has not answered this process at all for so long is given up, because its address may be
    wrong; one that takes connections and stays silent, after twice as long. None where it is known to be
    right: for all who are handed a `Storage` by another process."""
    connections: int = 32
    anonymous: tuple[str, ...] = ()
    """Buckets that are read without credentials."""
    requester_pays: tuple[str, ...] = ()
    """Buckets whose owner has those who read pay for it."""
    create_only_puts: bool = True
    """False: the store does not keep create-only puts, so `create` looks first and then puts. Two writers
    that look at the same moment both win, so that mode leans on the run lock. Set by
    `Storage.probe_conditions`."""
    conditional_replaces: bool = True
    """False: likewise for puts over an object that must still be the one with a known etag."""

    def budget_s(self, size_bytes: int) -> float:
        """Seconds that one call which moves `size_bytes` may take in all."""
        return self.deadline_s + size_bytes / self.slowest_bytes_per_s


@dataclass(frozen=True)
class ObjectInfo:
    """One stored object as listing or asking for it told."""

    uri: str
    size_bytes: int
    etag: str
    """Without quotes; on local disks a stand-in made of size and modification time."""
    modified_s: float | None = field(default=None, compare=False)
    """When it was written, in seconds since 1970, where a listing told."""


class Store(Protocol):
    """One kind of store. Addresses are whole uris; errors are the `StorageError` family of
    `posrefine.errors`."""

    def read(self, uri: str, start: int | None, end: int | None, etag: str | None) -> bytes:
        """The whole object, or its bytes [start, end)."""

    def put(self, uri: str, data: bytes) -> None:
        """Write the object in one piece, in place of whatever is there."""

    def replace(self, uri: str, data: bytes, etag: str) -> str:
        """Write the object in one piece in place of the one with that etag, or `ObjectChanged`; its etag."""

    def put_file(self, uri: str, path: Path) -> None:
        """Write the object in one piece from a local file, in place of whatever is there."""

    def create(self, uri: str, data: bytes) -> str:
        """Write the object in one piece unless there is one with other bytes: `ObjectExists`; its etag."""

    def create_file(self, uri: str, path: Path) -> None:
        """Write the object in one piece from a local file unless there is one: `ObjectExists`."""

    def delete(self, uri: str) -> None:
        """Remove the object; one that is not there is no error."""

    def head(self, uri: str) -> ObjectInfo:
        """Size and etag, or `ObjectMissing`."""

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        """Every object below the folder `uri`, in byte order of the keys, page by page."""
