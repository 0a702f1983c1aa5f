"""What a run would do and cost, found by listing the input alone; nothing is written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from pipeline.inputs.access import reaching_input
from pipeline.inputs.cutting import cut_options, listed_skipped
from pipeline.inputs.manifest import Manifest, cut_into_units
from pipeline.inputs.units import Unit, UnitKind
from pipeline.output.generations import Generation
from pipeline.output.run_output import RunOutput
from pipeline.settings.run import RunSettings
from pipeline.storage import Storage
from pipeline.storage.uris import require_apart

__all__ = ["RunEstimate", "estimate_run"]


@dataclass(frozen=True)
class RunEstimate:
    """What listing the input told.

    Attributes:
        changes: what `sync` would find, in words, where the output is finished: then the rest is of what it
            would annotate; None where a run would begin or go on.
        units: units by kind.
        images: images known without reading the input.
        units_uncounted: units (of tars) whose images are not among them.
        size_bytes: bytes of the units.
        skipped: objects that are no input, by suffix or the words of `pipeline.inputs.selection`.
    """

    changes: str | None
    units: dict[UnitKind, int]
    images: int
    units_uncounted: int
    size_bytes: int
    skipped: dict[str, int]

    def lines(self, images_per_s: float | None, price_per_device_hour: float | None) -> Iterator[str]:
        """The plan for people, with hours and cost where the speed of a device is given."""
        if self.changes is not None:
            yield f"changes   {self.changes}"
        kinds = ", ".join(f"{count:,} {kind.value}" for kind, count in sorted(self.units.items()))
        yield f"units     {sum(self.units.values()):,} ({kinds or 'nothing to annotate'})"
        more = f", and those of {self.units_uncounted:,} tar units" if self.units_uncounted else ""
        yield f"images    {self.images:,}{more}"
        yield f"bytes     {self.size_bytes:,}"
        yield f"skipped   {listed_skipped(self.skipped) or 'nothing'}"
        if images_per_s is None:
            yield "time      unknown; give --images-per-second of one device"
            return
        if self.units_uncounted and not self.images:
            yield "time      unknown: nobody counted the images in the tars yet"
            return
        hours = self.images / images_per_s / 3600
        known = " for the images known" if self.units_uncounted else ""
        yield f"time      {hours:,.2f} device hours{known}, at {images_per_s:g} images/s a device"
        if price_per_device_hour is not None:
            cost = hours * price_per_device_hour
            yield f"cost      {cost:,.2f}{known}, at {price_per_device_hour:g} an hour"


def estimate_run(settings: RunSettings, storage: Storage) -> RunEstimate:
    """List the input and cut it into units; of a finished output, what is new or stale in it.

    Raises:
        ConfigurationError: the input cannot be used.
        StorageError: the store could not be reached or refused, after all retries.
    """
    require_apart(settings.input, settings.output)
    storage = reaching_input(storage, settings.model_dump())
    output = RunOutput.at(settings.output, storage)
    record, tables = output.record(), output.counts()
    if record is not None:
        planned = output.generations(record)
        if tables is not None or len(planned) > 1:
            published = 0 if tables is None else tables.generation
            return _estimate_sync(settings, output, planned, published)
    skipped: Counter[str] = Counter()
    units = cut_into_units(settings.input, storage, cut_options(settings), skipped)
    return _estimate(None, units, skipped)


def _estimate_sync(
    settings: RunSettings, output: RunOutput, planned: Sequence[Generation], published: int
) -> RunEstimate:
    last = planned[-1]
    begun: Iterator[Unit] = iter(())
    words = f"since generation {last.number} that `sync` would follow"
    if last.number > published:
        manifest, done = output.manifest_of(last), set(output.of(last.number).unit_ids())
        pending = [unit_id for unit_id in last.unit_ids if unit_id not in done]
        begun = map(manifest.unit, pending)
        words = (
            f"since generation {last.number} that `sync` would finish first ({last.in_words()}; "
            f"{len(pending):,} of its {last.units:,} units to do)"
        )
    with output.changes(settings.input, cut_options(settings), planned) as changes:
        new = Manifest.open(str(changes.manifest), Storage())
        return _estimate(f"{changes.in_words()}, {words}", chain(begun, new.units()), changes.units.skipped)


def _estimate(changes: str | None, found: Iterator[Unit], skipped: Mapping[str, int]) -> RunEstimate:
    units: Counter[UnitKind] = Counter()
    images = uncounted = size_bytes = 0
    for unit in found:
        units[unit.kind] += 1
        images += unit.image_count or 0
        uncounted += unit.image_count is None
        size_bytes += unit.size_bytes
    return RunEstimate(changes, dict(units), images, uncounted, size_bytes, dict(skipped))
