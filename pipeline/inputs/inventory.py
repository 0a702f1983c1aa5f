"""What of an input an output holds already: key and etag of each image or shard, in key order.

A shard (tar, Parquet) is known as a whole. An image that is an object of its own is known with the unit that
took it: the how manieth of its generation's units of objects.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.inputs.cutting import key_below
from pipeline.inputs.manifest import Manifest
from pipeline.inputs.units import UnitKind
from pipeline.storage import Storage
from pipeline.storage.object_file import damage_named, open_parquet
from posrefine.errors import InvariantBroken, ObjectMissing

__all__ = ["Known", "KnownWriter", "known_of_file", "known_of_manifest"]

_ROWS = 65_536
_SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("etag", pa.string(), nullable=False),
        pa.field("generation", pa.int32(), nullable=False),
        pa.field("unit", pa.int32()),
    ]
)


class Known(NamedTuple):
    """An image or shard that an output holds.

    Attributes:
        key: its path below the input.
        etag: of the object that was annotated.
        generation: that took it.
        unit: number among the generation's units of objects; None for a shard.
    """

    key: str
    etag: str
    generation: int
    unit: int | None


class KnownWriter:
    """Writes what is known to a local file, in bounded memory, while its `with` block lasts."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0
        self._waiting: list[Known] = []
        self._writer = pq.ParquetWriter(
            path, _SCHEMA, compression="zstd", use_dictionary=["generation", "unit"]
        )

    def __enter__(self) -> KnownWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def add(self, known: Known) -> None:
        """Append an entry."""
        self._waiting.append(known)
        self.count += 1
        if len(self._waiting) == _ROWS:
            self._flush()

    def _flush(self) -> None:
        columns = list(zip(*self._waiting, strict=True)) or [()] * len(_SCHEMA)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA))
        self._waiting = []


def known_of_file(uri: str, storage: Storage) -> Iterator[Known]:
    """What a stored file of it says, in order, in bounded memory.

    Raises:
        InvariantBroken: it is gone.
    """
    try:
        info = storage.head(uri)
    except ObjectMissing as error:
        raise InvariantBroken(
            f"{uri}: gone, though the generation that it belongs to is there; put it back from a copy, or "
            "sync a new --output"
        ) from error
    file = open_parquet(storage, info.uri, info.size_bytes, info.etag, buffer_bytes=2**22)
    with damage_named(uri):
        for batch in file.iter_batches(_ROWS, use_threads=False):
            yield from map(Known._make, zip(*(column.to_pylist() for column in batch.columns), strict=True))


def known_of_manifest(manifest: Manifest, root: str, generation: int) -> Iterator[Known]:
    """What a manifest took, in key order; `root` is the folder that its keys are relative to."""
    # Units come out of cutting in the order in which they are full, which mixes images and shards.
    parts: list[Iterable[Known]] = [
        _objects(manifest, generation),
        _shards(manifest, root, generation),
    ]
    return heapq.merge(*parts, key=lambda known: known.key)


def _objects(manifest: Manifest, generation: int) -> Iterator[Known]:
    number = -1
    for unit in manifest.units():
        if unit.kind is UnitKind.OBJECTS:
            number += 1
            for entry in unit.objects:
                yield Known(entry.key, entry.etag, generation, number)


def _shards(manifest: Manifest, root: str, generation: int) -> Iterator[Known]:
    last = ""
    for unit in manifest.units():
        if unit.kind is not UnitKind.OBJECTS and unit.uri != last:
            last = unit.uri
            yield Known(key_below(root, unit.uri), unit.etag or "", generation, None)
