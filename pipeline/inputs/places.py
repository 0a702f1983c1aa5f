"""Where the bytes of every image of an input are: its own object, or a part of a tar."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pipeline.inputs.selection import Form, Selection
from pipeline.inputs.tar import iter_members
from pipeline.storage import ObjectInfo, Storage
from pipeline.storage.read_ahead import ReadAhead
from pipeline.storage.uris import suffix_of
from posrefine.errors import ConfigurationError

__all__ = ["ImagePlace", "find_images"]

INDEX_THREADS = 16
_SELECTION = Selection()


@dataclass(frozen=True)
class ImagePlace:
    """Where the bytes of one image are.

    `start_byte` and `size_bytes` say which part of a tar; both None for an object of its own.
    """

    key: str
    uri: str
    etag: str | None
    start_byte: int | None = None
    size_bytes: int | None = None


def find_images(uri: str, storage: Storage) -> Iterator[ImagePlace]:
    """Every image below a folder, the members of its tars included; `uri` may be a tar itself.

    Raises:
        ConfigurationError: there are Parquet files, whose images cannot be read one at a time.
        ShardError: a tar is broken.
    """
    entries = [storage.head(uri)] if suffix_of(uri) == ".tar" else list(storage.list(uri))
    if any(suffix_of(entry.uri) == ".parquet" for entry in entries):
        raise ConfigurationError(
            f"{uri}: training reads single images in any order, which Parquet does not allow: pack them into "
            "tar shards with jobs/pack.py"
        )
    for entry in entries:
        key = entry.uri.removeprefix(uri).lstrip("/")
        if _SELECTION.of_object(key) == Form.IMAGE:
            yield ImagePlace(key, entry.uri, entry.etag)
    tars = [entry for entry in entries if suffix_of(entry.uri) == ".tar"]
    with ThreadPoolExecutor(INDEX_THREADS) as pool:
        for places in pool.map(lambda entry: _members(entry, storage), tars):
            yield from places


def _members(entry: ObjectInfo, storage: Storage) -> list[ImagePlace]:
    with ReadAhead(storage, entry.uri, entry.etag, entry.size_bytes, 0, entry.size_bytes) as source:
        return [
            ImagePlace(member.name, entry.uri, entry.etag, member.data_byte, member.data_bytes)
            for member in iter_members(source, 0, entry.size_bytes)
            if member.kind == "file" and _SELECTION.of_member(member.name) == Form.IMAGE
        ]
