"""Reading an object together with the etag that belongs to it."""

from __future__ import annotations

from pipeline.storage.storage import Storage
from posrefine.errors import ObjectChanged

__all__ = ["read_pinned"]


def read_pinned(storage: Storage, uri: str) -> tuple[bytes, str]:
    """The whole object and its etag, also while others write it; `ObjectMissing` where there is none."""
    while True:
        etag = storage.head(uri).etag
        try:
            return storage.read_bytes(uri, etag), etag
        except ObjectChanged:
            continue
