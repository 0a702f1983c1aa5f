"""A store in memory, whose process can be killed at any write: nothing that it does afterwards happens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from support.stepped_store import Store

from pipeline.storage import ObjectInfo, Storage
from posrefine.errors import ObjectChanged, ObjectExists, ObjectMissing

__all__ = ["Killed", "Life", "MemoryStorage", "give_up_leases"]


def give_up_leases(store: Store) -> None:
    """Whoever comes next finds the leases of the dead given up."""
    for uri in [uri for uri in store.objects if uri.endswith("lock.json")]:
        del store.objects[uri]


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Life:
    """How much longer a process lives.

    Attributes:
        writes: that still happen; None for all.
        after: whether the last of them is the one that it dies of, or the next one.
    """

    writes: int | None = None
    dead: bool = False

    def spend(self) -> None:
        """Before a write."""
        if self.dead or self.writes == 0:
            self.dead = True
            raise Killed
        if self.writes is not None:
            self.writes -= 1


@dataclass(frozen=True)
class MemoryStorage(Storage):
    """The store as one process sees it."""

    store: Store = field(default_factory=Store, compare=False, repr=False)
    life: Life = field(default_factory=Life, compare=False, repr=False)

    def read_bytes(self, uri: str, etag: str | None = None) -> bytes:
        if etag not in (None, self.store.etag(uri)):
            raise ObjectChanged(f"{uri}: changed")
        if uri not in self.store.objects:
            raise ObjectMissing(f"{uri}: none")
        return self.store.objects[uri]

    def read_range(self, uri: str, start: int, end: int, etag: str | None = None) -> bytes:
        return self.read_bytes(uri, etag)[start:end]

    def put(self, uri: str, data: bytes) -> None:
        self.life.spend()
        self.store.objects[uri] = data

    def replace(self, uri: str, data: bytes, etag: str) -> str:
        self.life.spend()
        if self.store.etag(uri) != etag:
            raise ObjectChanged(f"{uri}: changed")
        self.store.objects[uri] = data
        return self.store.etag(uri)

    def create(self, uri: str, data: bytes) -> str:
        self.life.spend()
        if self.store.objects.setdefault(uri, data) != data:
            raise ObjectExists(f"{uri}: exists")
        return self.store.etag(uri)

    def create_file(self, uri: str, path: Path) -> None:
        self.life.spend()
        if uri in self.store.objects:
            raise ObjectExists(f"{uri}: exists")
        self.store.objects[uri] = path.read_bytes()

    def delete(self, uri: str) -> None:
        self.life.spend()
        self.store.objects.pop(uri, None)

    def head(self, uri: str) -> ObjectInfo:
        return ObjectInfo(uri, len(self.store.objects.get(uri, b"")), self.store.etag(uri))

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        found = sorted(key for key in self.store.objects if key.startswith(uri.rstrip("/") + "/"))
        return iter([ObjectInfo(key, len(self.store.objects[key]), self.store.etag(key)) for key in found])
