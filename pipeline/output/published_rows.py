"""People's rows as the tables hold them: what is left of an import whose own file was lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.output.run_output import RunOutput
from pipeline.output.schema import CORRECTED_SCHEMA

__all__ = ["PublishedRows"]

_LISTS = CORRECTED_SCHEMA.field("persons").type
_FIELDS = [field.name for field in _LISTS.value_type]


@dataclass(frozen=True)
class PublishedRows:
    """The tables of an output as they were published last.

    Attributes:
        output: with finished tables.
    """

    output: RunOutput

    def of(self, reviewer: str, images: Mapping[str, str]) -> dict[str, pa.ListArray]:
        """A reviewer's persons in those of these images (by sha256) that the tables have as theirs.

        Returns:
            By sha256 a list of one list, as `CORRECTED_SCHEMA` has it.

        Raises:
            ShardError: a file of the tables is damaged.
        """
        rows = replace(self.output, as_of=None, source="corrected").rows()
        found: dict[str, pa.ListArray] = {}
        for part, names in zip(rows.parts(1), rows.columns(["sha256", "source"]), strict=True):
            shas, sources = (names[name].to_pylist() for name in ("sha256", "source"))
            here = [
                row
                for row, (sha256, source) in enumerate(zip(shas, sources, strict=True))
                if source == reviewer and sha256 in images and sha256 not in found
            ]
            if here:
                (whole,) = part.persons(["sha256"], _FIELDS)
                some = whole.take(np.array(here))
                members = [pc.struct_field(some.persons, name) for name in _FIELDS]
                persons = pa.StructArray.from_arrays(members, fields=list(_LISTS.value_type))
                offsets = pa.array(np.concatenate([[0], np.cumsum(some.per_image)]).astype(np.int32))
                lists = pa.ListArray.from_arrays(offsets, persons, type=_LISTS)
                found |= {shas[row]: lists.slice(place, 1) for place, row in enumerate(here)}
        return found
