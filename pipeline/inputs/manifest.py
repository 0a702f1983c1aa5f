"""The frozen list of units that a run works through, stored as one Parquet file.

It is made once, so that a run which is resumed sees the input it began with. Units are written as listing
yields them and read one at a time: ten million images are never in memory as objects.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.inputs.cutting import CutOptions, cut_into_units, unit_name
from pipeline.inputs.units import ObjectRef, Unit, UnitKind
from pipeline.storage import Storage
from pipeline.storage.object_file import damage_named, open_parquet
from pipeline.storage.uris import join_uri
from posrefine.errors import ConfigurationError

__all__ = [
    "CutOptions",
    "Manifest",
    "ManifestSummary",
    "cut_into_units",
    "planned_manifest",
    "write_manifest",
    "write_units",
]

_GROUP_UNITS = 64
_SUMMARY = b"posrefine.manifest"
_SCHEMA = pa.schema(
    [
        ("unit_id", pa.string()),
        ("kind", pa.string()),
        ("uri", pa.string()),
        ("size_bytes", pa.int64()),
        ("image_count", pa.int64()),
        ("etag", pa.string()),
        ("shard_size_bytes", pa.int64()),
        ("start_byte", pa.int64()),
        ("end_byte", pa.int64()),
        ("row_groups", pa.list_(pa.int32())),
        ("start_row", pa.int64()),
        ("end_row", pa.int64()),
        ("keys", pa.list_(pa.string())),
        ("sizes_bytes", pa.list_(pa.int64())),
        ("etags", pa.list_(pa.string())),
    ]
)


@dataclass(frozen=True)
class ManifestSummary:
    """What planning found.

    Attributes:
        digest: SHA-256 over all units; the same input gives the same digest.
        units: number of units.
        images: images known without reading (objects, Parquet rows); those in tars are not among them.
        size_bytes: encoded bytes of all units, about.
        tars: tars among the input.
        parquet_files: Parquet files among the input.
        skipped: objects that are no input, by suffix, or by the words of `pipeline.inputs.selection`.
        first_unit: number of the first unit.
    """

    digest: str
    units: int
    images: int
    size_bytes: int
    tars: int = 0
    parquet_files: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    first_unit: int = 0


@dataclass(frozen=True)
class Manifest:
    """A stored manifest. Cheap to pickle; units are read from storage when asked for."""

    uri: str
    etag: str
    size_bytes: int
    summary: ManifestSummary
    storage: Storage

    @staticmethod
    def open(uri: str, storage: Storage) -> Manifest:
        """The manifest stored at `uri`; `ObjectMissing` if there is none, `ConfigurationError` if it is
        none."""
        info = storage.head(uri)
        metadata = _footer(storage, info.uri, info.size_bytes, info.etag).metadata or {}
        if _SUMMARY not in metadata:
            raise ConfigurationError(f"{uri}: is a Parquet file but no manifest; check the output's address")
        try:
            summary = ManifestSummary(**json.loads(metadata[_SUMMARY]))
        except (ValueError, TypeError, RecursionError) as error:
            raise ConfigurationError(
                f"{uri}: its sums are not of this version ({error}); put it back from a copy"
            ) from error
        return Manifest(info.uri, info.etag, info.size_bytes, summary, storage)

    def units(self, first: int = 0, count: int | None = None) -> Iterator[Unit]:
        """`count` units from number `first` on, by default every one, in order, in bounded memory."""
        file = self._file()
        last = self.summary.units if count is None else min(self.summary.units, first + count)
        for group in range(first // _GROUP_UNITS, -(-last // _GROUP_UNITS)):
            start = group * _GROUP_UNITS
            yield from map(_to_unit, self._rows(file, group)[max(0, first - start) : last - start])

    def unit_ids(self) -> list[str]:
        """The ids of all units, in order."""
        with damage_named(self.uri):
            table = self._file().read(columns=["unit_id"], use_threads=False)
            ids: list[str] = table.column("unit_id").to_pylist()
        return ids

    def shape(self) -> Iterator[tuple[UnitKind, str]]:
        """Kind and address of each unit, in order, without what it consists of."""
        with damage_named(self.uri):
            for batch in self._file().iter_batches(columns=["kind", "uri"], use_threads=False):
                for kind, uri in zip(batch["kind"].to_pylist(), batch["uri"].to_pylist(), strict=True):
                    yield UnitKind(kind), uri

    def unit(self, unit_id: str) -> Unit:
        """The unit of that id; `ConfigurationError` if there is none."""
        digits = unit_id[1:]
        is_number = digits.isascii() and digits.isdecimal()
        number = int(digits) - self.summary.first_unit if is_number else self.summary.units
        if 0 <= number < self.summary.units:
            rows = self._rows(self._file(), number // _GROUP_UNITS)
            unit = _to_unit(rows[number % _GROUP_UNITS])
            if unit.unit_id == unit_id:
                return unit
        raise ConfigurationError(
            f"{self.uri}: no unit '{unit_id}'; there are {self.summary.units}, named "
            f"{unit_name(self.summary.first_unit)} and so on"
        )

    def _rows(self, file: pq.ParquetFile, group: int) -> list[dict[str, Any]]:
        with damage_named(self.uri):
            rows: list[dict[str, Any]] = file.read_row_group(group, use_threads=False).to_pylist()
        return rows

    def _file(self) -> pq.ParquetFile:
        footer = _footer(self.storage, self.uri, self.size_bytes, self.etag)
        return open_parquet(self.storage, self.uri, self.size_bytes, self.etag, footer)


def write_manifest(
    input_uri: str,
    uri: str,
    storage: Storage,
    options: CutOptions = CutOptions(),  # noqa: B008 - frozen
) -> Manifest:
    """Plan the input and store the manifest at `uri` by one put.

    Raises `ConfigurationError` for an input without anything to read.
    """
    with planned_manifest(input_uri, storage, options) as (path, _):
        storage.put_file(uri, path)
    return Manifest.open(uri, storage)


@contextmanager
def planned_manifest(
    input_uri: str, storage: Storage, options: CutOptions
) -> Iterator[tuple[Path, ManifestSummary]]:
    """The manifest of an input as a local file, gone after the block, and what it says.

    Raises `ConfigurationError` for an input without anything to read.
    """
    skipped: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "manifest.parquet")
        yield path, write_units(path, cut_into_units(input_uri, storage, options, skipped), skipped)


def write_units(
    path: Path, units: Iterator[Unit], skipped: Counter[str], first_unit: int = 0
) -> ManifestSummary:
    """Write a manifest of the units as they come, with the summary in its footer."""
    tally = _Tally(first_unit)
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd") as writer:
        while rows := [tally.add(unit) for unit in islice(units, _GROUP_UNITS)]:
            writer.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA))
        summary = tally.summary(dict(sorted(skipped.items())))
        writer.add_key_value_metadata({_SUMMARY: json.dumps(asdict(summary)).encode()})
    return summary


class _Tally:
    """Sums over units as they are written."""

    def __init__(self, first_unit: int) -> None:
        self._first_unit = first_unit
        self._digest = hashlib.sha256()
        self._units = self._images = self._size_bytes = 0
        self._shards: Counter[UnitKind] = Counter()
        self._last_uri = ""

    def add(self, unit: Unit) -> dict[str, Any]:
        """Count the unit; its row."""
        row = _to_row(unit)
        self._digest.update(json.dumps(row, sort_keys=True, separators=(",", ":")).encode() + b"\n")
        self._units += 1
        self._images += unit.image_count or 0
        self._size_bytes += unit.size_bytes
        if unit.kind is not UnitKind.OBJECTS and unit.uri != self._last_uri:
            self._shards[unit.kind] += 1
            self._last_uri = unit.uri
        return row

    def summary(self, skipped: dict[str, int]) -> ManifestSummary:
        """The sums."""
        return ManifestSummary(
            digest=self._digest.hexdigest(),
            units=self._units,
            images=self._images,
            size_bytes=self._size_bytes,
            tars=self._shards[UnitKind.TAR],
            parquet_files=self._shards[UnitKind.PARQUET],
            skipped=skipped,
            first_unit=self._first_unit,
        )


@lru_cache(maxsize=4)
def _footer(storage: Storage, uri: str, size_bytes: int, etag: str) -> pq.FileMetaData:
    """The footer of a stored manifest; kept, because a worker asks for one unit after another."""
    return open_parquet(storage, uri, size_bytes, etag).metadata


def _to_row(unit: Unit) -> dict[str, Any]:
    row = {name: getattr(unit, name) for name in _SCHEMA.names if hasattr(unit, name)}
    return row | {
        "kind": unit.kind.value,
        "row_groups": list(unit.row_groups),
        "keys": [entry.key for entry in unit.objects],
        "sizes_bytes": [entry.size_bytes for entry in unit.objects],
        "etags": [entry.etag for entry in unit.objects],
    }


def _to_unit(row: dict[str, Any]) -> Unit:
    keys, sizes_bytes, etags = row.pop("keys"), row.pop("sizes_bytes"), row.pop("etags")
    objects = tuple(
        ObjectRef(join_uri(row["uri"], key), key, size_bytes, etag)
        for key, size_bytes, etag in zip(keys, sizes_bytes, etags, strict=True)
    )
    known = {"kind": UnitKind(row["kind"]), "row_groups": tuple(row["row_groups"]), "objects": objects}
    return Unit(**(row | known))
