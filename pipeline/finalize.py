"""From unit files to the tables: groups of units become files, and `_SUCCESS.json` comes last.

Group i of the units, in the manifest's order, always makes file i: writing a file again replaces the same
rows, and a plain glob over the tables is right at any moment. Memory is bounded by one group.
"""

from __future__ import annotations

import io
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.commit import decode_table
from pipeline.layout import OutputTree
from pipeline.load import is_broken_shard
from pipeline.manifest import Manifest
from pipeline.record import RunRecord
from pipeline.schema import IMAGES_SCHEMA, PERSONS_SCHEMA, images_table, persons_table
from pipeline.storage import Storage
from pipeline.units import Unit, UnitKind
from posrefine.errors import ConfigurationError, ImageStatus, InvariantBroken, ObjectMissing

__all__ = ["GroupCounts", "TableCounts", "finalize", "read_table_counts"]

_READ_AHEAD = 16
_ROW_GROUP_IMAGES = 16_384


class GroupCounts(BaseModel):
    """What the files of one group hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    group: int
    first_unit: str
    last_unit: str
    units: int
    images: dict[ImageStatus, int]
    persons: int
    broken_shards: int


class TableCounts(BaseModel):
    """What `_SUCCESS.json` says: the tables are complete, and hold this.

    Attributes:
        manifest_digest: of the manifest that the counts were checked against.
        units: units in the tables, all of the manifest's.
        images: images in the tables, each once.
        ok: those with keypoints, or without people.
        failed: the others, by status; `images` = `ok` + their sum.
        persons: rows of `tables/persons`.
        broken_shards: failed rows that stand for the unreadable rest of a tar or Parquet file, and so for an
            unknown number of images.
        groups: the same by file.
        note: what must be known about the network's poses, such as that they mean nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    manifest_digest: str
    units: int
    images: int
    ok: int
    failed: dict[ImageStatus, int]
    persons: int
    broken_shards: int
    groups: tuple[GroupCounts, ...]
    note: str | None = None

    @property
    def by_status(self) -> dict[str, int]:
        """Images by status."""
        return {"ok": self.ok} | {status.value: count for status, count in self.failed.items()}

    @property
    def error_rate(self) -> float:
        """Failed images over all images, 0 for no images."""
        return 1 - self.ok / self.images if self.images else 0.0


def read_table_counts(storage: Storage, tree: OutputTree) -> TableCounts | None:
    """The counts of finished tables; None where the tables are not finished.

    Raises:
        ConfigurationError: what is there was not written by this version.
    """
    try:
        return TableCounts.model_validate_json(storage.read_bytes(tree.success))
    except ObjectMissing:
        return None
    except ValidationError as error:
        raise ConfigurationError(f"{tree.success}: not of this version ({error})") from error


def finalize(storage: Storage, tree: OutputTree, record: RunRecord, manifest: Manifest) -> TableCounts:
    """Write the tables of a run whose units are all there; does nothing where that was done before.

    Raises:
        ConfigurationError: units are missing.
        InvariantBroken: rows and manifest do not agree.
    """
    finished = read_table_counts(storage, tree)
    if finished is not None:
        return finished
    _require_all_units(storage, tree, manifest)
    groups = tuple(
        _write_group(storage, tree, index, units, record)
        for index, units in enumerate(_groups(manifest.units(), record.table_units))
    )
    counts = _add_up(groups, record)
    storage.put(tree.success, counts.model_dump_json(indent=2).encode())
    return counts


def _require_all_units(storage: Storage, tree: OutputTree, manifest: Manifest) -> None:
    there = {tree.unit_id(found.uri) for found in storage.list(tree.units)}
    wanted = set(manifest.unit_ids())
    if there - wanted:
        raise InvariantBroken(
            f"{tree.units}: {len(there - wanted)} units are not in the manifest, as {min(there - wanted)}; "
            "only the run that owns the output may write there"
        )
    if wanted - there:
        raise ConfigurationError(
            f"{tree.root}: {len(wanted - there)} of {len(wanted)} units are not finished; `run` it to the end"
        )


def _groups(units: Iterator[Unit], size: int) -> Iterator[list[Unit]]:
    while group := list(islice(units, size)):
        yield group


def _write_group(
    storage: Storage, tree: OutputTree, index: int, units: Sequence[Unit], record: RunRecord
) -> GroupCounts:
    metadata = record.table_metadata().encode()
    images = _TableFile(IMAGES_SCHEMA, metadata, images_table)
    persons = _TableFile(PERSONS_SCHEMA, metadata, persons_table)
    statuses: Counter[ImageStatus] = Counter()
    broken_shards = 0
    for unit, rows in zip(units, _read_ahead(storage, tree, units), strict=True):
        _check_unit(unit, rows)
        broken_shards += sum(is_broken_shard(unit, uri) for uri in rows["uri"].to_pylist())
        statuses.update(
            {ImageStatus(v["values"]): v["counts"] for v in pc.value_counts(rows["status"]).to_pylist()}
        )
        images.add(rows)
        persons.add(rows)
    if images.row_count != statuses.total():
        raise InvariantBroken(f"group {index}: {images.row_count} image rows for {statuses.total()} images")
    storage.put(tree.table("images", index), images.close())
    storage.put(tree.table("persons", index), persons.close())
    return GroupCounts(
        group=index,
        first_unit=units[0].unit_id,
        last_unit=units[-1].unit_id,
        units=len(units),
        images=dict(statuses),
        persons=persons.row_count,
        broken_shards=broken_shards,
    )


def _read_ahead(storage: Storage, tree: OutputTree, units: Sequence[Unit]) -> Iterator[pa.Table]:
    """The rows of the units in order, a few files fetched ahead."""
    with ThreadPoolExecutor(_READ_AHEAD) as pool:
        waiting: deque[Future[bytes]] = deque()
        for unit in units:
            waiting.append(pool.submit(storage.read_bytes, tree.unit(unit.unit_id)))
            if len(waiting) > _READ_AHEAD:
                yield decode_table(waiting.popleft().result())
        while waiting:
            yield decode_table(waiting.popleft().result())


class _TableFile:
    """One Parquet file in the making, in memory; rows are gathered into row groups of useful size."""

    def __init__(
        self, schema: pa.Schema, metadata: dict[bytes, bytes], derive: Callable[[pa.Table], pa.Table]
    ) -> None:
        self._schema, self._derive = schema.with_metadata(metadata), derive
        self._sink = io.BytesIO()
        self._writer = pq.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._waiting: list[pa.Table] = []
        self.row_count = 0

    def add(self, units: pa.Table) -> None:
        self._waiting.append(self._derive(units))
        self.row_count += self._waiting[-1].num_rows
        if sum(table.num_rows for table in self._waiting) >= _ROW_GROUP_IMAGES:
            self._flush()

    def close(self) -> bytes:
        self._flush()
        self._writer.close()
        return self._sink.getvalue()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting).cast(self._schema))
        self._waiting = []


def _check_unit(unit: Unit, rows: pa.Table) -> None:
    """Raise `InvariantBroken` unless the rows are the unit's images, each once.

    Units share no images, so with this every image of the run is in the tables once.
    """
    uris = rows["uri"].to_pylist()
    if len(set(uris)) != len(uris):
        raise InvariantBroken(f"unit {unit.unit_id}: {len(uris)} rows for {len(set(uris))} images")
    if set(rows["unit"].to_pylist()) - {unit.unit_id}:
        raise InvariantBroken(f"unit {unit.unit_id}: holds rows of other units")
    if unit.kind is UnitKind.OBJECTS and set(uris) != {found.uri for found in unit.objects}:
        raise InvariantBroken(f"unit {unit.unit_id}: rows and manifest name different images")
    if any(is_broken_shard(unit, uri) for uri in uris):
        return
    if unit.image_count is not None and len(uris) != unit.image_count:
        raise InvariantBroken(
            f"unit {unit.unit_id}: {len(uris)} rows; the manifest says {unit.image_count} images"
        )


def _add_up(groups: tuple[GroupCounts, ...], record: RunRecord) -> TableCounts:
    images: Counter[ImageStatus] = Counter()
    for group in groups:
        images.update(group.images)
    units = sum(group.units for group in groups)
    if units != record.units:
        raise InvariantBroken(f"the tables hold {units} units; the manifest has {record.units}")
    return TableCounts(
        manifest_digest=record.manifest_digest,
        units=units,
        images=images.total(),
        ok=images[ImageStatus.OK],
        failed={status: count for status, count in sorted(images.items()) if status is not ImageStatus.OK},
        persons=sum(group.persons for group in groups),
        broken_shards=sum(group.broken_shards for group in groups),
        groups=groups,
        note=record.note,
    )
