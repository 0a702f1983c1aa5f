"""What became of the images of finished units, from the ends of the units' files, many at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from pipeline.output.files import UnitFile
from pipeline.output.parquet import read_stored_footer
from pipeline.output.unit_footer import UnitFooter
from pipeline.storage import Storage
from pipeline.storage.ordered_map import map_in_order
from posrefine.errors import ObjectChanged, ObjectMissing, ShardError

__all__ = ["DamagedUnit", "FinishedUnit", "iter_unit_footers"]

_READERS = 32


@dataclass(frozen=True)
class FinishedUnit:
    """A finished unit, and what its file says of its images."""

    generation: int
    file: UnitFile
    footer: UnitFooter


@dataclass(frozen=True)
class DamagedUnit:
    """A finished unit whose file was cut, or replaced as by another run's, and what is wrong with it."""

    generation: int
    file: UnitFile
    error: ShardError


def iter_unit_footers(
    storage: Storage, files: Iterable[tuple[int, UnitFile]], run_id: str
) -> Iterator[FinishedUnit | DamagedUnit]:
    """The units of a run, each with its generation's number, many read at a time and none of them whole.

    One that was removed since it was listed, as when its network was replaced, is left out.
    """
    found = map_in_order(lambda one: _read(storage, *one, run_id), files, _READERS)
    return (unit for unit in found if unit is not None)


def _read(
    storage: Storage, generation: int, file: UnitFile, run_id: str
) -> FinishedUnit | DamagedUnit | None:
    while True:
        try:
            metadata = read_stored_footer(storage, file.uri, file.size_bytes, file.etag, run_id)
            return FinishedUnit(generation, file, UnitFooter.of(file.uri, metadata))
        except ShardError as error:
            return DamagedUnit(generation, file, error)
        except ObjectMissing:
            return None
        except ObjectChanged:
            # Its failed images were tried again since it was listed.
            try:
                now = storage.head(file.uri)
            except ObjectMissing:
                return None
            file = replace(file, etag=now.etag, size_bytes=now.size_bytes)
