"""A store in memory whose every call waits for its turn: tests say which process goes on, and when.

Each process is a thread with its own view of the store. A call is announced, waits, and then happens at once:
between two calls a process may be left waiting for as long as the test likes, as if it was stopped, or never
go on, as if it was killed. A process may have a bad network at its next write: see `Process.next_write`.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from pipeline.storage import ObjectInfo, Storage, StorageOptions
from posrefine.errors import ObjectChanged, ObjectExists, ObjectMissing, StorageError

__all__ = ["Process", "SteppedStorage", "Store"]

Result = TypeVar("Result")


@dataclass
class Store:
    """The objects; etags are of contents, as in S3.

    Attributes:
        objects: by address.
        log: writes that changed something: who, what call, where.
        late: writes that are still on their way.
    """

    objects: dict[str, bytes] = field(default_factory=dict)
    log: list[tuple[str, str, str]] = field(default_factory=list)
    late: list[Callable[[], object]] = field(default_factory=list)

    def land(self) -> None:
        """Let the write that is longest on its way arrive; it may be refused, and nobody hears of it."""
        if self.late:
            with suppress(ObjectChanged, ObjectExists, ObjectMissing):
                self.late.pop(0)()

    def etag(self, uri: str) -> str:
        """Of the object; `ObjectMissing` where there is none."""
        if uri not in self.objects:
            raise ObjectMissing(f"{uri}: none")
        return hashlib.md5(self.objects[uri]).hexdigest()


class _Killed(BaseException):
    """Ends a thread."""


class Process:
    """A function in a thread that goes on by single steps.

    Attributes:
        next_write: what becomes of its next write. `lost`: it is done, the reply is lost, and the client asks
            again a step later. `late`: there is no answer until the client gives up, and it is done some time
            after that, if at all. `twice`: it is done, and a copy of it arrives some time later.
    """

    def __init__(self, name: str, work: Callable[[Storage], Any], store: Store) -> None:
        self.name = name
        self.error: Exception | None = None
        self.result: Any = None
        self._turn, self._rest = threading.Semaphore(0), threading.Semaphore(0)
        self.over, self.about_to_write = False, ""
        self.next_write: Literal["", "lost", "late", "twice"] = ""
        self._started = self._killed = False
        self.storage = SteppedStorage(StorageOptions(), self, store)
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True, name=name)

    def step(self) -> None:
        """Let the process go on until it asks for the next call, or ends."""
        if self.over:
            return
        if not self._started:
            self._started = True
            self._thread.start()
        else:
            self._turn.release()
        self._rest.acquire()

    def go_on_to_write(self, what: str) -> None:
        """Let it go on until it is about to write something with `what` in its address, or ends."""
        self.step()
        while not self.over and what not in self.about_to_write:
            self.step()

    def finish(self) -> None:
        """Let it go on to its end."""
        while not self.over:
            self.step()

    def kill(self) -> None:
        """End it where it stands, with nothing of what it would have done."""
        self._killed = True
        self.finish()

    def wait_for_turn(self, writes: str = "") -> None:
        """Called by the process before each call; its helper threads, which only read, need not wait."""
        if threading.current_thread() is not self._thread:
            return
        self.about_to_write = writes
        if not self._killed:
            self._rest.release()
            self._turn.acquire()
        if self._killed:
            raise _Killed

    def _run(self, work: Callable[[Storage], Any]) -> None:
        try:
            self.result = work(self.storage)
        except _Killed:
            pass
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error
        self.over = True
        self._rest.release()


@dataclass(frozen=True)
class SteppedStorage(Storage):
    """The store as one process sees it."""

    process: Process = field(default=None, compare=False, repr=False)  # type: ignore[assignment]
    store: Store = field(default_factory=Store, compare=False, repr=False)

    def read_bytes(self, uri: str, etag: str | None = None) -> bytes:
        self.process.wait_for_turn()
        if etag not in (None, self.store.etag(uri)):
            raise ObjectChanged(f"{uri}: changed")
        return self.store.objects[uri]

    def read_range(self, uri: str, start: int, end: int, etag: str | None = None) -> bytes:
        return self.read_bytes(uri, etag)[start:end]

    def put(self, uri: str, data: bytes) -> None:
        self._request(uri, lambda: self._write("put", uri, data))

    def replace(self, uri: str, data: bytes, etag: str) -> str:
        def replace() -> str:
            if self.store.etag(uri) != etag and self.store.objects[uri] != data:
                raise ObjectChanged(f"{uri}: changed")
            return self._write("replace", uri, data)

        return self._request(uri, replace)

    def create(self, uri: str, data: bytes) -> str:
        def create() -> str:
            if self.store.objects.get(uri, data) != data:
                raise ObjectExists(f"{uri}: exists")
            return self._write("create", uri, data)

        return self._request(uri, create)

    def create_file(self, uri: str, path: Path) -> None:
        data = path.read_bytes()

        def create() -> None:
            if uri in self.store.objects:
                raise ObjectExists(f"{uri}: exists")
            self._write("create", uri, data)

        self._request(uri, create)

    def _request(self, uri: str, write: Callable[[], Result]) -> Result:
        self.process.wait_for_turn(uri)
        fate, self.process.next_write = self.process.next_write, ""
        if fate == "late":
            self.store.late.append(write)
            raise StorageError(f"{uri}: no answer")
        if fate == "lost":
            with suppress(ObjectChanged, ObjectExists, ObjectMissing):
                write()
            self.process.wait_for_turn(uri)
        done = write()
        if fate == "twice":
            self.store.late.append(write)
        return done

    def delete(self, uri: str) -> None:
        self.process.wait_for_turn(uri)
        self.store.objects.pop(uri, None)
        self.store.log.append((self.process.name, "delete", uri))

    def head(self, uri: str) -> ObjectInfo:
        self.process.wait_for_turn()
        return ObjectInfo(uri, len(self.store.objects.get(uri, b"")), self.store.etag(uri))

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        self.process.wait_for_turn()
        found = sorted(key for key in self.store.objects if key.startswith(uri.rstrip("/") + "/"))
        return iter([ObjectInfo(key, len(self.store.objects[key]), self.store.etag(key)) for key in found])

    def _write(self, call: str, uri: str, data: bytes) -> str:
        if self.store.objects.get(uri) != data:
            self.store.objects[uri] = data
            self.store.log.append((self.process.name, call, uri))
        return self.store.etag(uri)
