"""(being built) Interface of the frozen list of units."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from pipeline.storage import Storage
from pipeline.units import Unit

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")


@dataclass(frozen=True)
class PlanOptions:
    """How the input is cut into units."""

    unit_images: int = 128
    unit_bytes: int = 32 * 2**20
    image_suffixes: tuple[str, ...] = IMAGE_SUFFIXES
    split_tars: bool = True
    image_column: str | None = None


@dataclass(frozen=True)
class ManifestSummary:
    """What planning found."""

    digest: str
    units: int
    images: int
    """Images known without reading (objects and Parquet rows); those of tars are not among them."""
    size_bytes: int
    tars: int = 0
    parquet_files: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    """Objects that are no input, counted by suffix."""


@dataclass(frozen=True)
class Manifest:
    """A stored manifest; units are read from it a few at a time. Picklable."""

    uri: str
    summary: ManifestSummary
    storage: Storage

    @staticmethod
    def open(uri: str, storage: Storage) -> Manifest:
        """Read the footer of a stored manifest."""
        raise NotImplementedError

    def units(self) -> Iterator[Unit]:
        """Every unit, in order, in bounded memory."""
        raise NotImplementedError

    def unit_ids(self) -> list[str]:
        """The ids of all units, in order."""
        raise NotImplementedError

    def unit(self, unit_id: str) -> Unit:
        """One unit by its id; ConfigurationError where there is none."""
        raise NotImplementedError


def plan_units(input_uri: str, storage: Storage, options: PlanOptions = PlanOptions()) -> Iterator[Unit]:
    """The units of an input, in order."""
    raise NotImplementedError


def write_manifest(
    input_uri: str, uri: str, storage: Storage, options: PlanOptions = PlanOptions()
) -> Manifest:
    """Plan the input and store the manifest at `uri` by one create-only put (ObjectExists if there is one)."""
    raise NotImplementedError
