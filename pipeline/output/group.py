"""One group of units on its way into the tables: read, checked, and written as a file of each table."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.inputs.load import is_broken_shard
from pipeline.inputs.units import Unit, UnitKind
from pipeline.output.counts import GroupCounts
from pipeline.output.human_rows import HumanRows
from pipeline.output.lease import LeaseWitness
from pipeline.output.lock import RunLock
from pipeline.output.measures import Measures
from pipeline.output.parquet import decode_stored
from pipeline.output.person_count import PersonCount
from pipeline.output.record import RunRecord
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import (
    IMAGES_SCHEMA,
    MODEL,
    PERSONS_SCHEMA,
    UNIT_SCHEMA,
    images_table,
    persons_table,
)
from pipeline.output.table_state import digest_of_units
from pipeline.output.unit_footer import UnitFooter
from pipeline.storage.ordered_map import map_in_order
from pipeline.storage.pinned import read_pinned
from posrefine.errors import ImageStatus, InvariantBroken, ObjectChanged

__all__ = ["GroupUnits", "GroupWriter"]

_READ_AHEAD = 16
_ROW_GROUP_IMAGES = 16_384


@dataclass(frozen=True)
class GroupUnits:
    """The units of a group, in the order of their manifest.

    Attributes:
        generation: that they belong to.
        index: number of the group in it.
        units: of which there is one or more.
        etags: of the units' files.
        gone: addresses of images of their own and of shards whose rows are left out.
    """

    generation: int
    index: int
    units: Sequence[Unit]
    etags: Mapping[str, str]
    gone: frozenset[str] = frozenset()


@dataclass(frozen=True)
class GroupWriter:
    """Makes and writes the files of one group after the other, in any process that it is pickled to.

    Attributes:
        output: of the run.
        lease: looked at before every put.
        record: of the run.
        human: people's rows, which are laid over the units'.
    """

    output: RunOutput
    lease: RunLock | LeaseWitness
    record: RunRecord
    human: HumanRows

    def elsewhere(self) -> GroupWriter:
        """The same for another process, where the lease can be looked at but not held."""
        lease = self.lease.witness if isinstance(self.lease, RunLock) else self.lease
        return replace(self, lease=lease)

    def write(self, group: GroupUnits) -> GroupCounts:
        """Write the files of a group.

        Raises:
            InvariantBroken: rows and manifest do not agree.
            ShardError: a unit's file is damaged, or of another run.
            OutputLocked: the lease was lost.
        """
        return _written(self, group)

    def put(self, name: str, file: str, data: bytes) -> str:
        """Store a file of the table `images` or `persons`, under a name that no other has; its etag."""
        self.lease.confirm()
        return self.output.storage.create(self.output.tree.table(name, file), data)


def _written(writer: GroupWriter, group: GroupUnits) -> GroupCounts:
    record, units, gone = writer.record, group.units, group.gone
    metadata = record.table_metadata().encode()
    images = _TableFile(IMAGES_SCHEMA, metadata, images_table)
    persons = _TableFile(PERSONS_SCHEMA, metadata, persons_table)
    statuses: Counter[ImageStatus] = Counter()
    broken_shards, objects, reviewed, all_rows, made_from, met = 0, 0, 0, 0, [], set[str]()
    people, skipped, measures = PersonCount(), Counter[str](), Measures()
    output = writer.output.of(group.generation)
    for unit, (etag, rows) in zip(units, _read_ahead(output, units, group.etags, record.run_id), strict=True):
        _check_unit(unit, rows)
        made_from.append((unit.unit_id, etag))
        all_rows += rows.num_rows
        measures += Measures.of(rows, record.min_score)
        rows = _left(unit, rows, gone, met)
        objects += rows.num_rows if unit.kind is UnitKind.OBJECTS else 0
        broken_shards += sum(is_broken_shard(unit, uri) for uri in rows["uri"].to_pylist())
        if unit.uri not in gone:
            uri = output.tree.unit(unit.unit_id)
            skipped.update(UnitFooter.of(uri, rows.schema.metadata).skipped)
        rows = writer.human.over(rows)
        reviewed += pc.sum(pc.not_equal(rows["source"], MODEL)).as_py() or 0
        statuses.update(
            {ImageStatus(v["values"]): v["counts"] for v in pc.value_counts(rows["status"]).to_pylist()}
        )
        people += PersonCount.of(rows["persons"], record.min_score)
        images.add(rows)
        persons.add(rows)
    if images.row_count != statuses.total():
        raise InvariantBroken(
            f"group {group.index}: {images.row_count} image rows for {statuses.total()} images"
        )
    if gone - met:
        raise InvariantBroken(
            f"group {group.index} of generation {group.generation}: {min(gone - met)} shall leave it, and is "
            "not in it"
        )
    file, made = "", {"images": b"", "persons": b""}
    made_etags = dict.fromkeys(made, "")
    if images.row_count:
        file = output.tree.new_table_file(group.generation, group.index)
        made = {"images": images.close(), "persons": persons.close()}
        made_etags = {name: writer.put(name, file, data) for name, data in made.items()}
    return GroupCounts(
        generation=group.generation,
        group=group.index,
        file=file,
        first_unit=units[0].unit_id,
        last_unit=units[-1].unit_id,
        units=len(units),
        images=dict(statuses),
        objects=objects,
        reviewed=reviewed,
        left_out=all_rows - images.row_count,
        persons=people.counted,
        persons_below=people.below,
        broken_shards=broken_shards,
        skipped=dict(sorted(skipped.items())),
        measures=measures,
        units_digest=digest_of_units(made_from),
        images_etag=made_etags["images"],
        persons_etag=made_etags["persons"],
        images_bytes=len(made["images"]),
        persons_bytes=len(made["persons"]),
    )


def _left(unit: Unit, rows: pa.Table, gone: frozenset[str], met: set[str]) -> pa.Table:
    """The rows of a unit without those that are gone, whose addresses are added to `met`."""
    if not gone:
        return rows
    if unit.kind is not UnitKind.OBJECTS:
        if unit.uri not in gone:
            return rows
        met.add(unit.uri)
        return rows.slice(0, 0)
    uris = rows["uri"].to_pylist()
    met.update(gone.intersection(uris))
    return rows.filter(pa.array([uri not in gone for uri in uris], pa.bool_()))


def _read_ahead(
    output: RunOutput, units: Sequence[Unit], etags: Mapping[str, str], run_id: str
) -> Iterator[tuple[str, pa.Table]]:
    """Etag and rows of the units' files in order, a few files fetched ahead."""

    def fetch(unit: Unit) -> tuple[str, bytes, str]:
        uri, etag = output.tree.unit(unit.unit_id), etags[unit.unit_id]
        try:
            return uri, output.storage.read_bytes(uri, etag), etag
        except ObjectChanged:
            return uri, *read_pinned(output.storage, uri)

    for uri, data, etag in map_in_order(fetch, units, _READ_AHEAD):
        yield etag, decode_stored(uri, data, UNIT_SCHEMA.names, run_id)


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

    def add(self, rows: pa.Table) -> None:
        self._waiting.append(self._derive(rows))
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
