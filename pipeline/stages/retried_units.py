"""Failed images of finished units once more: only they are loaded, and their rows alone are made anew.

A unit's file is written anew as a whole, by one put over the very file whose other rows it keeps; whoever
reads the units meanwhile sees every image once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.inputs.units import ObjectRef, Unit, UnitKind
from pipeline.output.lease import LeaseWitness
from pipeline.output.parquet import decode_stored
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import UNIT_SCHEMA
from pipeline.storage import Storage
from pipeline.storage.pinned import read_pinned
from posrefine.errors import ImageStatus, ObjectChanged, ObjectMissing

__all__ = ["commit_again", "failed_part", "known_uris", "merged", "read_unit"]


def read_unit(output: RunOutput, unit_id: str) -> tuple[pa.Table, str]:
    """The rows of a finished unit with `UNIT_SCHEMA`, and the etag of their file."""
    uri = output.tree.unit(unit_id)
    data, etag = read_pinned(output.storage, uri)
    return decode_stored(uri, data, UNIT_SCHEMA.names), etag


def known_uris(rows: pa.Table) -> frozenset[str]:
    """The images of a unit's rows that were fine."""
    return frozenset(_fine(rows)["uri"].to_pylist())


def failed_part(unit: Unit, old: pa.Table, storage: Storage) -> Unit:
    """The unit without the images that were fine.

    An image that is an object of its own is taken as it is now, also where it was replaced since the manifest
    was made. A unit of a shard stays whole: which of its images to pass over is seen once they are read.
    """
    if unit.kind is not UnitKind.OBJECTS:
        return unit
    known = known_uris(old)
    failed = [_as_it_is_now(entry, storage) for entry in unit.objects if entry.uri not in known]
    return replace(unit, objects=tuple(failed))


def commit_again(
    output: RunOutput,
    witness: LeaseWitness,
    unit_id: str,
    fresh: pa.Table,
    encode: Callable[[pa.Table], bytes],
) -> int:
    """Put `fresh` rows in place of the unit's failed ones; the size of the file, in bytes.

    Nothing is written where nothing changed. `encode` makes a unit's file of rows.

    Raises:
        OutputLocked: the lease was lost.
    """
    while True:
        old, etag = read_unit(output, unit_id)
        rows = merged(old, fresh)
        if rows.equals(old.replace_schema_metadata()):
            return 0
        data = encode(rows)
        witness.confirm()
        try:
            output.storage.replace(output.tree.unit(unit_id), data, etag)
        except ObjectChanged:
            # Another attempt at this unit was faster, or the lease is another run's: the next look tells.
            continue
        return len(data)


def merged(old: pa.Table, fresh: pa.Table) -> pa.Table:
    """The rows of `old` that were fine and those of `fresh` for other images, in the old order."""
    fine, known = _fine(old).replace_schema_metadata(), pa.array(sorted(known_uris(old)), pa.string())
    new = fresh.replace_schema_metadata().filter(pc.invert(pc.is_in(fresh["uri"], known)))
    return _in_order(pa.concat_tables([fine, new]), old["uri"].to_pylist())


def _fine(rows: pa.Table) -> pa.Table:
    return rows.filter(pc.equal(rows["status"], ImageStatus.OK.value))


def _as_it_is_now(entry: ObjectRef, storage: Storage) -> ObjectRef:
    try:
        found = storage.head(entry.uri)
    except ObjectMissing:
        return entry
    return replace(entry, size_bytes=found.size_bytes, etag=found.etag)


def _in_order(rows: pa.Table, uris: Sequence[str]) -> pa.Table:
    """`rows` in the order of `uris`, those that are not among them at the end."""
    position = {uri: index for index, uri in enumerate(uris)}
    places = [position.get(uri, len(uris)) for uri in rows["uri"].to_pylist()]
    return rows.take(pc.sort_indices(pa.table({"place": places}), sort_keys=[("place", "ascending")]))
