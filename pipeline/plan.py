"""What a run would do and cost, found by listing the input alone; nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.config import RunSettings
from pipeline.manifest import plan_units
from pipeline.run import plan_options
from pipeline.storage import Storage
from pipeline.units import UnitKind
from pipeline.uris import require_apart

__all__ = ["PlannedRun", "plan_run"]


@dataclass(frozen=True)
class PlannedRun:
    """What listing the input told.

    Attributes:
        units: units by kind.
        images: images known without reading the input.
        units_uncounted: units (of tars) whose images are not among them.
        size_bytes: bytes of the units.
        skipped: objects that are no input, by suffix.
    """

    units: dict[UnitKind, int]
    images: int
    units_uncounted: int
    size_bytes: int
    skipped: dict[str, int]

    def lines(self, images_per_s: float | None, price_per_device_hour: float | None) -> Iterator[str]:
        """The plan for people, with hours and cost where the speed of a device is given."""
        kinds = ", ".join(f"{count:,} {kind.value}" for kind, count in sorted(self.units.items()))
        yield f"units     {sum(self.units.values()):,} ({kinds or 'the input is empty'})"
        more = f", and those of {self.units_uncounted:,} tar units" if self.units_uncounted else ""
        yield f"images    {self.images:,}{more}"
        yield f"bytes     {self.size_bytes:,}"
        skipped = [f"{count:,} {suffix or 'unnamed'}" for suffix, count in sorted(self.skipped.items())]
        yield f"skipped   {', '.join(skipped) or 'nothing'}"
        if images_per_s is None:
            yield "time      unknown; give --images-per-second of one device"
            return
        hours = self.images / images_per_s / 3600
        known = " for the images known" if self.units_uncounted else ""
        yield f"time      {hours:,.2f} device hours{known}, at {images_per_s:g} images/s a device"
        if price_per_device_hour is not None:
            cost = hours * price_per_device_hour
            yield f"cost      {cost:,.2f}{known}, at {price_per_device_hour:g} an hour"


def plan_run(settings: RunSettings, storage: Storage) -> PlannedRun:
    """List the input and cut it into units.

    Raises:
        ConfigurationError: the input cannot be used.
        StorageError: the store could not be reached or refused, after all retries.
    """
    require_apart(settings.input, settings.output)
    units: Counter[UnitKind] = Counter()
    images = uncounted = size_bytes = 0
    skipped: Counter[str] = Counter()
    for unit in plan_units(settings.input, storage, plan_options(settings), skipped):
        units[unit.kind] += 1
        images += unit.image_count or 0
        uncounted += unit.image_count is None
        size_bytes += unit.size_bytes
    return PlannedRun(dict(units), images, uncounted, size_bytes, dict(skipped))
