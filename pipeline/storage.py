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

import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import uuid4

from pipeline.stores.base import ObjectInfo, StorageOptions, Store
from pipeline.stores.local import LocalStore
from pipeline.stores.s3 import S3Store
from pipeline.uris import is_s3, join_uri, normalise_uri
from posrefine.errors import ObjectExists, ObjectMissing

__all__ = ["ObjectInfo", "Storage", "StorageOptions", "forget_clients"]

logger = logging.getLogger(__name__)

_stores: dict[tuple[int, bool, StorageOptions], Store] = {}
_stores_lock = threading.Lock()


def _store_for(uri: str, options: StorageOptions) -> Store:
    """This process's store for an address; keyed by process id because a forked S3 client refuses to work."""
    key = (os.getpid(), is_s3(uri), options)
    with _stores_lock:
        if key not in _stores:
            _stores[key] = S3Store(options) if is_s3(uri) else LocalStore(options)
        return _stores[key]


def forget_clients() -> None:
    """Drop this process's clients, so that the next use goes by the AWS environment as it is then."""
    with _stores_lock:
        _stores.clear()


@dataclass(frozen=True)
class Storage:
    """Objects in S3 or on local disks; safe to share between threads and to pickle."""

    options: StorageOptions = field(default_factory=StorageOptions)

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

    def create(self, uri: str, data: bytes) -> None:
        """Write the object by one put, only if there is none; `ObjectExists` if there is one with other
        bytes.

        Of several writers one wins. Meeting its own bytes is no conflict, because a put whose reply was lost
        is repeated, by layers that do not tell, and then meets the object it has written. So `data` should
        hold something that only this writer writes (an owner token) wherever a second writer must be told
        apart.
        """
        uri = normalise_uri(uri)
        _store_for(uri, self.options).create(uri, data)

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

    def probe_create_only(self, folder: str) -> Storage:
        """The storage to use for writing below `folder`, after finding out whether it keeps create-only puts.

        Puts a probe twice. A store that takes the second put ignores the condition: then a warning is
        logged, and the returned storage looks before it puts (see `StorageOptions.create_only_puts`).
        """
        probe = join_uri(normalise_uri(folder), f"_probe-{uuid4().hex}")
        try:
            self.create(probe, b"first")
            self.create(probe, b"second")
        except ObjectExists:
            return self
        finally:
            self.delete(probe)
        logger.warning(
            "%s: this store ignores create-only puts; results are committed by looking first, which is safe "
            "only while one run at a time writes there (the run lock sees to that)",
            folder,
        )
        return Storage(replace(self.options, create_only_puts=False))
