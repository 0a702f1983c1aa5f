"""The one place that knows storage: local disks and S3, with the same promises.

Every method takes a whole address (`s3://bucket/key`, a local path, or `file://`), so one `Storage` serves
input and output alike. A `Storage` holds its options and nothing else: it pickles without secrets, and each
process makes its own clients on first use. Endpoint, region and credentials come from the AWS environment or
chain alone.

Stores that do not take the client's checksums (Ceph) want `AWS_REQUEST_CHECKSUM_CALCULATION` and
`AWS_RESPONSE_CHECKSUM_VALIDATION` set to `when_required`; others find flipped bytes by them.

Errors are the `StorageError` family: `ObjectMissing`, `ObjectChanged`, `ObjectExists`, and `StorageError`
itself for a store that cannot be reached or refuses, after retries within `StorageOptions.deadline_s`.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from pipeline.storage.base import ObjectInfo, StorageOptions, Store
from pipeline.storage.local import LocalStore
from pipeline.storage.s3 import S3Store
from pipeline.storage.uris import is_s3, join_uri, normalise_uri, split_s3
from posrefine.errors import ConditionUnsupported, ObjectChanged, ObjectExists, ObjectMissing

__all__ = ["ObjectInfo", "Storage", "StorageOptions", "forget_clients"]

logger = logging.getLogger(__name__)

_stores: dict[tuple[int, str, StorageOptions], Store] = {}
_stores_lock = threading.Lock()


def _store_for(uri: str, options: StorageOptions) -> Store:
    """This process's store for an address; keyed by process id because a forked S3 client refuses to work."""
    access = _access_to(uri, options)
    key = (os.getpid(), access, options)
    with _stores_lock:
        if key not in _stores:
            is_open, pays = access == "s3, anonymous", access == "s3, requester pays"
            _stores[key] = (
                S3Store(options, anonymous=is_open, requester_pays=pays) if access else LocalStore(options)
            )
        return _stores[key]


def _access_to(uri: str, options: StorageOptions) -> str:
    """How an address is reached: empty for local files."""
    if not is_s3(uri):
        return ""
    bucket, _ = split_s3(uri)
    if bucket in options.anonymous:
        return "s3, anonymous"
    return "s3, requester pays" if bucket in options.requester_pays else "s3"


def forget_clients() -> None:
    """Drop this process's clients, so that the next use goes by the AWS environment as it is then."""
    with _stores_lock:
        _stores.clear()


@dataclass(frozen=True)
class Storage:
    """Objects in S3 or on local disks; safe to share between threads and to pickle."""

    options: StorageOptions = field(default_factory=StorageOptions)

    def __setstate__(self, state: dict[str, StorageOptions]) -> None:
        # Whoever hands it over has used it: in a worker, silence is an outage and no wrong address.
        object.__setattr__(self, "options", dataclasses.replace(state["options"], first_answer_s=None))

    def read_bytes(self, uri: str, etag: str | None = None) -> bytes:
        """The whole object.

        With `etag`, `ObjectChanged` unless the object is still the one with that etag.
        """
        uri = normalise_uri(uri)
        return _store_for(uri, self.options).read(uri, None, None, etag)

    def read_range(self, uri: str, start: int, end: int, etag: str | None = None) -> bytes:
        """Bytes [start, end) of the object, exactly that many; `ObjectChanged` where it is shorter."""
        if start >= end:
            return b""
        uri = normalise_uri(uri)
        return _store_for(uri, self.options).read(uri, start, end, etag)

    def put(self, uri: str, data: bytes) -> None:
        """Write the object by one put, over whatever is there; readers see the old or the new, never a
        part."""
        uri = normalise_uri(uri)
        _store_for(uri, self.options).put(uri, data)

    def put_file(self, uri: str, path: Path) -> None:
        """Like `put`, from a local file that need not fit into memory; S3 takes 5 GB at most by one put."""
        uri = normalise_uri(uri)
        _store_for(uri, self.options).put_file(uri, path)

    def replace(self, uri: str, data: bytes, etag: str) -> str:
        """Write the object by one put, only over the one with that etag; returns the new etag.

        `ObjectChanged` where another one is there by now, `ObjectMissing` where there is none. Of several
        writers that know the same etag one wins. As for `create`, meeting its own bytes is no conflict.
        """
        uri = normalise_uri(uri)
        return _store_for(uri, self.options).replace(uri, data, etag)

    def create(self, uri: str, data: bytes) -> str:
        """Write the object by one put, only if there is none; `ObjectExists` if there is one with other
        bytes. Returns its etag.

        Of several writers one wins. Meeting its own bytes is no conflict, because a put whose reply was lost
        is repeated, by layers that do not tell, and then meets the object it has written. So `data` should
        hold something that only this writer writes (an owner token) wherever a second writer must be told
        apart.
        """
        uri = normalise_uri(uri)
        return _store_for(uri, self.options).create(uri, data)

    def create_file(self, uri: str, path: Path) -> None:
        """Like `create`, from a local file that need not fit into memory; any object there is a conflict,
        also one that this call has written itself in an attempt whose reply was lost."""
        uri = normalise_uri(uri)
        _store_for(uri, self.options).create_file(uri, path)

    def delete(self, uri: str) -> None:
        """Remove the object; one that is not there is no error."""
        uri = normalise_uri(uri)
        _store_for(uri, self.options).delete(uri)

    def head(self, uri: str) -> ObjectInfo:
        """Size and etag of the object; `ObjectMissing` where there is none."""
        uri = normalise_uri(uri)
        return _store_for(uri, self.options).head(uri)

    def exists(self, uri: str) -> bool:
        """Whether there is an object at this very address (a folder is none)."""
        try:
            self.head(uri)
        except ObjectMissing:
            return False
        return True

    def list(self, uri: str) -> Iterator[ObjectInfo]:
        """Every object below the folder `uri`, at any depth, in byte order of the keys.

        The listing is read page by page (directory by directory on disks) and never held whole. A folder
        that does not exist has no objects.
        """
        uri = normalise_uri(uri)
        return _store_for(uri, self.options).list(uri)

    def probe_conditions(self, folder: str) -> Storage:
        """The storage to use for writing below `folder`, after finding out which conditions its puts keep.

        A store may ignore a condition, or refuse to hear of one. Then a warning is logged, and the returned
        storage looks before it puts (see `StorageOptions.create_only_puts`).
        """
        probe = join_uri(normalise_uri(folder), f"_probe-{uuid4().hex}")
        try:
            creates = self._refuses(lambda: (self.create(probe, b"first"), self.create(probe, b"second")))
            if not creates:
                self.put(probe, b"first")
            replaces = self._refuses(lambda: self.replace(probe, b"third", "0" * 32)) and not self._refuses(
                lambda: self.replace(probe, b"fourth", self.head(probe).etag)
            )
        finally:
            self.delete(probe)
        if creates and replaces:
            return self
        missing = " and ".join(
            name for name, kept in (("create-only puts", creates), ("If-Match", replaces)) if not kept
        )
        logger.warning(
            "%s: this store does not keep %s; what is written is looked for first, which is safe only while "
            "one run at a time writes there (the run lock sees to that)",
            folder,
            missing,
        )
        return dataclasses.replace(
            self,
            options=dataclasses.replace(
                self.options, create_only_puts=creates, conditional_replaces=replaces
            ),
        )

    @staticmethod
    def _refuses(put: Callable[[], object]) -> bool:
        """Whether the condition of a put that must not go through is kept."""
        try:
            put()
        except (ObjectExists, ObjectChanged):
            return True
        except ConditionUnsupported:
            return False
        return False
