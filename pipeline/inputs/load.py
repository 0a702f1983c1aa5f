"""From a unit to its loaded images: what the load stage and `replay` share."""

from __future__ import annotations

from collections import Counter

from pipeline.inputs.readers import ReadOptions, iter_unit
from pipeline.inputs.units import LoadedImage, Unit, UnitKind
from pipeline.storage import Storage
from posrefine.errors import ImageStatus, ObjectChanged, ObjectMissing, ObjectUnreadable, ShardError

__all__ = ["given_up_unit", "is_broken_shard", "load_unit"]


def given_up_unit(unit: Unit) -> list[LoadedImage]:
    """The rows of a unit that kills its workers before they come to any image."""
    error = "its worker died again and again while fetching the unit"
    if unit.kind is not UnitKind.OBJECTS:
        return [_broken_shard(unit, ImageStatus.WORKER_DIED, error)]
    return [LoadedImage(entry.key, entry.uri, ImageStatus.WORKER_DIED, error) for entry in unit.objects]


def load_unit(
    unit: Unit, storage: Storage, options: ReadOptions, skipped: Counter[str] | None = None
) -> list[LoadedImage]:
    """Fetch and decode a unit's images; `skipped` is filled with what a tar held besides them.

    A shard that is gone, replaced or broken must not stop the other shards of a run for ever: what could be
    read of it is kept, and one more failed row stands for the rest, of whose images nobody knows the number.

    Raises:
        StorageError: the store could not be reached or refused, after all retries.
        ConfigurationError: a Parquet file has no column of images.
    """
    images: list[LoadedImage] = []
    try:
        images.extend(iter_unit(unit, storage, options, skipped))
    except ObjectMissing as error:
        images.append(_broken_shard(unit, ImageStatus.MISSING, str(error)))
    except ObjectChanged as error:
        images.append(_broken_shard(unit, ImageStatus.CHANGED, str(error)))
    except ObjectUnreadable as error:
        images.append(_broken_shard(unit, ImageStatus.UNREADABLE, str(error)))
    except ShardError as error:
        images.append(_broken_shard(unit, ImageStatus.CORRUPT, str(error)))
    return images


def is_broken_shard(unit: Unit, uri: str) -> bool:
    """Whether `uri` is of the row that stands for an unreadable part of the unit's shard."""
    return unit.kind is not UnitKind.OBJECTS and uri == _part_uri(unit)


def _broken_shard(unit: Unit, status: ImageStatus, error: str) -> LoadedImage:
    uri = _part_uri(unit)
    return LoadedImage(image_key=uri.rpartition("/")[2], uri=uri, status=status, error=error)


def _part_uri(unit: Unit) -> str:
    """Names the unit's part of its shard; unlike any image's, so that every row's uri is unique."""
    if unit.kind is UnitKind.TAR:
        return f"{unit.uri}#bytes={unit.start_byte}-{unit.end_byte}"
    rows = "" if unit.start_row is None else f",rows={unit.start_row}-{unit.end_row}"
    return f"{unit.uri}#row_groups={','.join(map(str, unit.row_groups))}{rows}"
