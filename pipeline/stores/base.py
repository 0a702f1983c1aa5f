"""What a kind of store has to offer to `pipeline.storage.Storage`, and the types they share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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
    attempts: int = 8
    """Attempts of the S3 client per request; above it, requests are repeated until the deadline."""
    connections: int = 32
    create_only_puts: bool = True
    """False: the store does not keep create-only puts, so `create` looks first and then puts. Two writers
    that look at the same moment both win, so that mode leans on the run lock. Set by
    `Storage.probe_create_only`."""

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


class Store(Protocol):
    """One kind of store. Addresses are whole uris; errors are the `StorageError` family of
    `posrefine.errors`."""

    def read(self, uri: str, start: int | None, end: int | None, etag: str | None) -> bytes:
        """The whole object, or its bytes [start, end)."""

    def put(self, uri: str, data: bytes) -> None:
        """Write the object in one piece, in place of whatever is there."""

    def put_file(self, uri: str, path: Path) -> None:
        """Write the object in one piece from a local file, in place of whatever is there."""

    def create(self, uri: str, data: bytes) -> None:
        """Write the object in one piece unless there is one with other bytes: `ObjectExists`."""

    def delete(self, uri: str) -> None:
        """Remove the object; one that is not there is no error."""

    def head(self, uri: str) -> ObjectInfo:
        """Size and etag, or `ObjectMissing`."""

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        """Every object below the folder `uri`, in byte order of the keys, page by page."""
