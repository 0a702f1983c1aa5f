"""Failed images of a run again: after uploads were repaired, or machines that kept dying were replaced.

There are few of them, so this works in one process, without Ray. A unit's file is written anew as a whole, by
one put, with new rows in place of the failed ones; whoever reads the units meanwhile sees every image once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.commit import decode_table, encode_table
from pipeline.config import RunSettings
from pipeline.drive import read_options
from pipeline.finalize import finalize
from pipeline.infer import UnitAnnotator
from pipeline.layout import OutputTree
from pipeline.load import load_unit
from pipeline.lock import RunLock
from pipeline.network import load_network
from pipeline.outcome import Outcome
from pipeline.readers import ReadOptions
from pipeline.record import Fingerprint, require_record
from pipeline.run import open_manifest, read_image_ids
from pipeline.schema import unit_table
from pipeline.status import iter_unit_statuses
from pipeline.storage import Storage
from pipeline.units import LoadedImage, ObjectRef, Unit, UnitKind
from posrefine.errors import ImageStatus, ObjectMissing

__all__ = ["retry_failed"]


def retry_failed(
    output: str,
    device: str,
    storage: Storage,
    *,
    max_pixels: int | None = None,
    max_image_bytes: int | None = None,
) -> Outcome:
    """Try the failed images of a finished run once more, and bring its tables up to date.

    An image that is an object of its own is taken as it is now, also where it was replaced since the manifest
    was made; the row's sha256 says which bytes were used. Images of shards are read from the pinned shard.

    Args:
        output: of the run.
        device: `cpu` or `cuda`.
        storage: of input and output.
        max_pixels: limit on the images tried again; None: the run's own.
        max_image_bytes: likewise.

    Raises:
        ConfigurationError: no run has begun there, or its units are not all finished.
        FingerprintMismatch: the weights or the annotation file are not those of the run any more.
        OutputLocked: a live run holds the output.
    """
    started_at, tree = datetime.now(UTC), OutputTree.at(output)
    record = require_record(storage, tree)
    settings = RunSettings(**record.settings)
    network = load_network(settings, storage)
    image_ids, annotations_sha256 = read_image_ids(settings, storage)
    record.fingerprint.require_same(Fingerprint.of(settings, network, annotations_sha256), tree.root)
    with RunLock(storage, tree.lock, settings.lock_expiry_s):
        manifest = open_manifest(storage, tree, record)
        finalize(storage, tree, record, manifest)
        given = {"max_pixels": max_pixels, "max_image_bytes": max_image_bytes}
        limits = {name: limit for name, limit in given.items() if limit is not None}
        annotate = UnitAnnotator(network, settings, device, image_ids)
        again = _Again(storage, read_options(settings.model_copy(update=limits)), annotate)
        failed = [found.unit_id for found in iter_unit_statuses(storage, tree) if found.failed]
        for unit_id in failed:
            uri = tree.unit(unit_id)
            old = decode_table(storage.read_bytes(uri))
            new = again.rows(manifest.unit(unit_id), old)
            # From here the tables are behind the units, until they are finished once more.
            storage.delete(tree.success)
            storage.put(uri, encode_table(new, old.schema.metadata))
        tables = finalize(storage, tree, record, manifest)
        outcome = Outcome.completed(
            tables, None, max_error_rate=settings.max_error_rate, started_at=started_at
        )
        storage.put(tree.outcome, outcome.encode())
        return outcome


@dataclass(frozen=True)
class _Again:
    """Makes a unit's rows anew where they failed."""

    storage: Storage
    reading: ReadOptions
    annotate: UnitAnnotator

    def rows(self, unit: Unit, old: pa.Table) -> pa.Table:
        """The old rows that were fine, and new ones of all other images, in the old order."""
        fine = old.filter(pc.equal(old["status"], ImageStatus.OK.value))
        known = set(fine["uri"].to_pylist())
        images = [image for image in self._load(unit, known) if image.uri not in known]
        results = [self.annotate([image]).results[0] for image in images]
        fresh = unit_table(unit.unit_id, results)
        return _in_order(pa.concat_tables([fine.replace_schema_metadata(), fresh]), old["uri"].to_pylist())

    def _load(self, unit: Unit, known: set[str]) -> list[LoadedImage]:
        if unit.kind is UnitKind.OBJECTS:
            failed = [self._as_it_is_now(entry) for entry in unit.objects if entry.uri not in known]
            unit = replace(unit, objects=tuple(failed))
        return load_unit(unit, self.storage, self.reading)

    def _as_it_is_now(self, entry: ObjectRef) -> ObjectRef:
        try:
            found = self.storage.head(entry.uri)
        except ObjectMissing:
            return entry
        return replace(entry, size_bytes=found.size_bytes, etag=found.etag)


def _in_order(rows: pa.Table, uris: Sequence[str]) -> pa.Table:
    """`rows` in the order of `uris`, those that are not among them at the end."""
    position = {uri: index for index, uri in enumerate(uris)}
    places = [position.get(uri, len(uris)) for uri in rows["uri"].to_pylist()]
    return rows.take(pc.sort_indices(pa.table({"place": places}), sort_keys=[("place", "ascending")]))
