"""(being built) Interface of reading a unit's images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.image_gate import ExifRule, ImageLimits
from pipeline.manifest import IMAGE_SUFFIXES
from pipeline.storage import Storage
from pipeline.units import LoadedImage, Unit


@dataclass(frozen=True)
class ReadOptions:
    """How the images of a unit are fetched and decoded."""

    limits: ImageLimits = field(default_factory=ImageLimits)
    exif: ExifRule = "apply"
    image_suffixes: tuple[str, ...] = IMAGE_SUFFIXES
    """Which members of a tar are images."""
    image_column: str | None = None
    """Of Parquet input; None finds it by its usual names."""
    key_column: str | None = None
    fetch_threads: int = 16


def iter_unit(
    unit: Unit,
    storage: Storage,
    options: ReadOptions = ReadOptions(),
    skipped: Counter[str] | None = None,
) -> Iterator[LoadedImage]:
    """Every image of the unit exactly once, in order, failures included.

    `skipped`, where given, is filled with what a tar held besides images (by suffix, or `<link>`, `<directory>`).
    Raises StorageError (also ObjectMissing / ObjectChanged for a whole shard) and ShardError.
    """
    raise NotImplementedError
