"""The generations of a standing data set: what each sync took, and where it lies.

The first is the run itself, with its manifest and units at the top of the output. Each later one has a folder
with its own manifest and units; its record is put last when it is planned, only if there is none, and is the
commit of the plan.
"""

from __future__ import annotations

import re
from datetime import datetime
from itertools import pairwise

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.inputs.changes import changes_in_words
from pipeline.inputs.cutting import unit_name
from pipeline.output.numbers import Count, Ordinal
from pipeline.output.place import Place
from pipeline.output.record import RunRecord
from pipeline.settings.problems import problems_of
from pipeline.storage.ordered_map import map_in_order
from posrefine.errors import ConfigurationError, InvariantBroken

__all__ = ["FIRST_GENERATION", "Generation", "read_generations"]

FIRST_GENERATION = 1

_RECORD = r"g\d{4,}/generation\.json"
_READERS = 32


class Generation(BaseModel):
    """What `generations/g…/generation.json` says.

    Attributes:
        number: of the generation, from 1 on.
        root: the folder that keys of the input are relative to; empty for the first.
        manifest_digest: of its list of units.
        inventory_digest: of the file of all that the output holds with it; None for the first.
        gone_digest: of the file of what leaves the tables with it; None for the first.
        first_unit: number of its first unit.
        units: number of its units.
        images: known from listing; those in tars are not among them.
        input_bytes: of its units.
        skipped: objects below the input that were none, by suffix, when it was planned.
        new: images and shards that were not there before.
        stale: that had become others.
        orphaned: that were gone.
        known: images and shards that the output holds with it; None for the first, where nobody counted.
        objects: those of them that are images of their own.
        planned_at: when.
        code_version: of the code that planned it.
        lease_generation: of the lease under which it was written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: Ordinal
    root: str
    manifest_digest: str
    inventory_digest: str | None
    gone_digest: str | None
    first_unit: Count
    units: Count
    images: Count
    input_bytes: Count
    skipped: dict[str, Count]
    new: Count
    stale: Count
    orphaned: Count
    known: Count | None
    objects: Count | None
    planned_at: datetime
    code_version: str
    lease_generation: Count | None = None

    @staticmethod
    def first(record: RunRecord) -> Generation:
        """The run itself."""
        return Generation(
            number=FIRST_GENERATION,
            root="",
            manifest_digest=record.manifest_digest,
            inventory_digest=None,
            gone_digest=None,
            first_unit=0,
            units=record.units,
            images=record.images,
            input_bytes=record.input_bytes,
            skipped=record.skipped,
            new=record.images,
            stale=0,
            orphaned=0,
            known=None,
            objects=None,
            planned_at=record.created_at,
            code_version=record.code_version,
            lease_generation=record.lease_generation,
        )

    @property
    def unit_ids(self) -> list[str]:
        """The ids of its units, in order."""
        return [unit_name(number) for number in range(self.first_unit, self.first_unit + self.units)]

    def record(self, run: RunRecord) -> RunRecord:
        """The run's record for work on this generation's units alone."""
        return run.model_copy(
            update={
                "units": self.units,
                "images": self.images,
                "input_bytes": self.input_bytes,
                "skipped": self.skipped,
            }
        )

    def in_words(self) -> str:
        """As in `3 new, 1 stale, 0 orphaned`."""
        return changes_in_words(self.new, self.stale, self.orphaned)

    def encode(self) -> bytes:
        """As JSON."""
        return self.model_dump_json(indent=2).encode()


def read_generations(place: Place, record: RunRecord) -> list[Generation]:
    """All generations below an output that were planned, from the first on, finished or not.

    Raises:
        ConfigurationError: one was not written by this version.
        InvariantBroken: one is missing, or their units do not follow one another.
    """
    storage, folder = place.storage, place.tree.generations
    own = re.compile(re.escape(f"{folder}/") + _RECORD)  # copies of folders are none
    uris = [info.uri for info in storage.list(folder) if own.fullmatch(info.uri)]
    found = [Generation.first(record)]
    for uri, data in zip(uris, map_in_order(storage.read_bytes, uris, _READERS), strict=True):
        try:
            found.append(Generation.model_validate_json(data))
        except ValidationError as error:
            raise ConfigurationError(
                f"{uri}: no generation of this version ({problems_of(error)})"
            ) from error
    # By names the ten thousandth would come before the second thousand.
    found.sort(key=lambda generation: generation.number)
    numbers = [generation.number for generation in found]
    if numbers != list(range(1, len(found) + 1)):
        raise InvariantBroken(f"{folder}: holds {numbers}; one was removed")
    for before, after in pairwise(found):
        if after.first_unit != before.first_unit + before.units:
            raise InvariantBroken(
                f"{folder}: generation {before.number} says {before.units} units from "
                f"{before.first_unit} on, but generation {after.number} begins with {after.first_unit}; one "
                "of their records was changed: put it back, or sync a new --output"
            )
    return found
