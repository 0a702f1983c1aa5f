"""What the network had found where people corrected it: kept with their rows, else in its units."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.output.files import PersonRows
from pipeline.output.human_log import HumanImport
from pipeline.output.human_rows import HumanRows, put_lists
from pipeline.output.parquet import decode_stored
from pipeline.output.schema import MODEL, UNIT_SCHEMA, persons_as_found
from posrefine.errors import ObjectMissing, ShardError

__all__ = ["WHOSE", "NetworkRows"]

WHOSE = ("sha256", "source", "unit")
"""Columns of images by which the network's rows are found."""

_SAYS = ("found", "status", "error")


@dataclass(frozen=True)
class NetworkRows:
    """The rows of one network for images that people corrected.

    People's rows are kept with what the network had found. Where another network has taken its place since,
    its units say what it finds.

    Attributes:
        people: what they said.
        run_id: of the network's run.
    """

    people: HumanRows
    run_id: str

    def instead(self, rows: PersonRows, generation: int) -> PersonRows:
        """Rows of a file of the tables with the network's in place of people's.

        Args:
            rows: with the columns `WHOSE`.
            generation: that the file's units belong to.

        Raises:
            ShardError: a file is damaged, or was removed.
        """
        sources = rows.images["source"].to_pylist()
        hits = [row for row, source in enumerate(sources) if source != MODEL]
        if not hits:
            return rows
        told = self._told(rows.images.take(pa.array(hits)), generation)
        found = persons_as_found(told["found"].combine_chunks())
        names = [field.name for field in rows.persons.type]
        members = found.flatten()
        alike = pa.StructArray.from_arrays(
            [pc.struct_field(members, name) for name in names], fields=list(rows.persons.type)
        )
        offsets = np.concatenate([[0], np.cumsum(rows.per_image)]).astype(np.int32)
        lists = pa.ListArray.from_arrays(pa.array(offsets), rows.persons)
        put = put_lists(lists, hits, pa.ListArray.from_arrays(found.offsets, alike, type=lists.type))
        images = _images(rows.images, hits, told)
        return PersonRows(images, put.flatten(), np.asarray(pc.list_value_length(put), np.int64))

    def _told(self, images: pa.Table, generation: int) -> pa.Table:
        """What the network says of these images: `found`, `status`, `error`."""
        shas, units = (images[name].to_pylist() for name in ("sha256", "unit"))
        self.people.files.fetch(self._imports[sha256][0] for sha256 in shas if sha256 in self._imports)
        read: dict[str, pa.Table] = {}
        parts = []
        for sha256, unit in zip(shas, units, strict=True):
            kept = self._kept(sha256)
            if kept is not None:
                parts.append(kept)
                continue
            if unit not in read:
                read[unit] = self._unit(unit, generation)
            parts.append(_row_of(read[unit], sha256))
        return pa.concat_tables([part.replace_schema_metadata(None) for part in parts])

    def _kept(self, sha256: str) -> pa.Table | None:
        """What this network found in an image, where an import was kept with it, be it an undone one."""
        for one in self._imports.get(sha256, ()):
            row = self.people.files.row(one, sha256)
            if row is not None and self.people.files.run_id_of(one) == self.run_id:
                return row.select(_SAYS)
        return None

    @cached_property
    def _imports(self) -> Mapping[str, Sequence[HumanImport]]:
        """All imports about each image, by its sha256, the last one first."""
        found = defaultdict[str, list[HumanImport]](list)
        for one in reversed(self.people.log.ever()):
            for sha256 in self.people.keys(one):
                found[sha256].append(one)
        return found

    def _unit(self, unit: str, generation: int) -> pa.Table:
        uri = replace(self.people.tree, generation=generation).unit(unit)
        try:
            return decode_stored(uri, self.people.storage.read_bytes(uri), UNIT_SCHEMA.names, self.run_id)
        except ObjectMissing as error:
            raise ShardError(
                f"{uri}: what the network found in images that people corrected stands there, and it was "
                "deleted; put it back from a copy, or read the corrected rows"
            ) from error


def _row_of(unit: pa.Table, sha256: str) -> pa.Table:
    """What a unit says of the image with these bytes."""
    row = unit["sha256"].to_pylist().index(sha256)
    return unit.slice(row, 1).select(["persons", "status", "error"]).rename_columns(list(_SAYS))


def _images(images: pa.Table, rows: Sequence[int], told: pa.Table) -> pa.Table:
    """The images with what the run itself said of those in `rows`."""
    for name in ("source", "status", "error"):
        column = images.schema.get_field_index(name)
        if column >= 0:
            values = np.array(images[name].to_pylist(), object)
            values[list(rows)] = MODEL if name == "source" else told[name].to_pylist()
            field = images.schema.field(column)
            images = images.set_column(column, field, pa.array(values, field.type))
    return images
