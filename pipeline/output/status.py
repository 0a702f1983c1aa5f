"""Where a run stands, from storage alone: also while another process runs it, and after a crash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import Literal

from pydantic import BaseModel, ConfigDict

from pipeline.output.drift import Drift, drift_of
from pipeline.output.finished_units import DamagedUnit, FinishedUnit, iter_unit_footers
from pipeline.output.generation_status import GenerationStatus
from pipeline.output.generations import FIRST_GENERATION, Generation
from pipeline.output.lease import Lease
from pipeline.output.outcome import Outcome
from pipeline.output.person_count import PersonCount
from pipeline.output.record import RunRecord
from pipeline.output.run_output import RunOutput
from posrefine.errors import ConfigurationError, ImageStatus, InvariantBroken, ObjectMissing

__all__ = ["RunStatus", "StatusSummary", "read_status"]

# A run that is not at work commits nothing: such gaps between commits say nothing about its speed.
_SHORTEST_PAUSE_S = 60.0
# Of units that were committed within less, a speed says more about the moments of the commits than the work.
_TELLING_S = 10.0
_MEDIAN_GAPS_PER_PAUSE = 20


class StatusSummary(BaseModel):
    """A run's status for programs: what `status --json` prints.

    Attributes:
        model: name of the network.
        weights: what its weights were called.
        note: what must be known about its poses.
        created_at: when the run began.
        units_done: units with a file.
        units_total: units of the manifest.
        damaged: names of unit files that cannot be read.
        strangers: names of what lies among them and is none.
        images: images of finished units by status.
        min_score: from which persons are counted.
        persons: persons of finished units with at least this score.
        persons_below: the others.
        reviewed: images of the tables whose rows are people's.
        skipped: objects below the input that are none, by suffix; members of tars of finished units as well.
        last_commit_at: when the last unit was committed; None before the first.
        images_per_s: of the last attempt, as its outcome says it; of one at work, since its first commit;
            None where no speed is known yet.
        remaining_s: estimated seconds of work on the pending units; None where no speed is known yet.
        lock: `free`, `live`, or `abandoned` by a process that is gone.
        outcome: how the last attempt ended; None where none has ended yet.
        generations: of a standing data set, from the first on; the numbers above are of all of them, but
            images and persons those that the tables hold, once they hold a later one or corrections.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    weights: str
    note: str | None
    created_at: datetime
    units_done: int
    units_total: int
    damaged: tuple[str, ...]
    strangers: tuple[str, ...]
    images: dict[str, int]
    min_score: float
    persons: int
    persons_below: int
    reviewed: int
    skipped: dict[str, int]
    last_commit_at: datetime | None
    images_per_s: float | None
    remaining_s: float | None
    lock: Literal["free", "live", "abandoned"]
    outcome: Outcome | None
    generations: tuple[GenerationStatus, ...]


@dataclass(frozen=True)
class RunStatus:
    """What storage says about a run.

    Attributes:
        record: what the run is, with the units of all its generations.
        units_done: units with a file that can be read.
        damaged: names of the unit files that cannot.
        strangers: names of what else lies in `units/`; no unit is called so, and nothing reads them.
        images: images of the finished units by status.
        people: persons of the finished units.
        reviewed: images of the tables whose rows are people's.
        skipped: objects of the input, and members of tars of the finished units, that are none; by suffix.
        last_commit_at: when the last unit was committed; None before the first.
        working_s: seconds from the first commit to the last, without the pauses between attempts.
        lease: the lock, live or abandoned; None where no run is at work.
        outcome: how the last attempt ended; None where none has ended yet.
        generations: from the first on.
    """

    record: RunRecord
    units_done: int
    damaged: tuple[str, ...]
    strangers: tuple[str, ...]
    images: dict[ImageStatus, int]
    people: PersonCount
    reviewed: int
    skipped: dict[str, int]
    last_commit_at: datetime | None
    working_s: float
    lease: Lease | None
    outcome: Outcome | None
    generations: tuple[GenerationStatus, ...]

    @property
    def ended(self) -> Outcome | None:
        """How the last attempt ended, where it worked on units, and no other has begun since."""
        found = self.outcome if self.lease is None else None
        return found if found is not None and found.images_per_s is not None else None

    @property
    def images_per_s(self) -> float | None:
        """Of the last attempt; of one at work, from its first commit on, and None where that is too near."""
        if self.ended is not None:
            return self.ended.images_per_s
        return _speed(sum(self.images.values()), self.units_done, self.working_s)

    @property
    def remaining_s(self) -> float | None:
        """Estimated seconds of work on the pending units; None where no speed is known."""
        if self.working_s < _TELLING_S:
            return None
        return (self.record.units - self.units_done) * self.working_s / (self.units_done - 1)

    def summary(self, now: datetime) -> StatusSummary:
        """The status for programs."""
        return StatusSummary(
            model=self.record.fingerprint.model,
            weights=self.record.weights,
            note=self.record.note,
            created_at=self.record.created_at,
            units_done=self.units_done,
            units_total=self.record.units,
            damaged=self.damaged,
            strangers=self.strangers,
            images={status.value: count for status, count in self.images.items()},
            min_score=self.record.min_score,
            persons=self.people.counted,
            persons_below=self.people.below,
            reviewed=self.reviewed,
            skipped=self.skipped,
            last_commit_at=self.last_commit_at,
            images_per_s=self.images_per_s,
            remaining_s=self.remaining_s,
            lock="free" if self.lease is None else "live" if self.lease.seems_live(now) else "abandoned",
            outcome=self.outcome,
            generations=self.generations,
        )


def read_status(output: RunOutput) -> RunStatus:
    """Read the status of the run at `output`; reads the end of every unit's file.

    Raises:
        ConfigurationError: no run has begun there.
        StorageError: the store could not be reached.
    """
    try:
        return _read(output)
    except (ObjectMissing, ConfigurationError, InvariantBroken):
        now = RunOutput.at(output.uri, output.storage)
        if now.tree.work == output.tree.work:
            raise
        # Its network was replaced meanwhile, and what the old one left is being removed.
        return _read(now)


def _read(output: RunOutput) -> RunStatus:
    record, strangers = output.require_record(), list[str]()
    tables, planned = output.counts(), output.generations(record)
    found = _found(output, record, planned, strangers)
    commits = [commit for one in found for commit in one.commits]
    images = sum((one.images for one in found), Counter[ImageStatus]())
    people = sum((one.people for one in found), PersonCount())
    skipped = sum((one.skipped for one in found), Counter(planned[-1].skipped))
    # Of a first generation that nobody corrected the units say the same as the tables, and before them.
    if tables is not None and (tables.generation > FIRST_GENERATION or tables.reviewed):
        images = Counter({ImageStatus(status): count for status, count in tables.by_status.items()})
        people = tables.people
    drifts = {} if tables is None else drift_of(tables)
    return RunStatus(
        record=record.model_copy(update={"units": sum(one.units for one in planned)}),
        units_done=len(commits),
        damaged=tuple(unit_id for one in found for unit_id in one.damaged),
        strangers=tuple(strangers),
        images=dict(images),
        people=people,
        reviewed=0 if tables is None else tables.reviewed,
        skipped=dict(sorted(skipped.items())),
        last_commit_at=max(commits, default=None),
        working_s=sum(_working_s(one.commits) for one in found),
        lease=output.lease(),
        outcome=output.outcome(),
        generations=tuple(
            one.status(
                published=tables is not None and one.generation.number <= tables.generation,
                drift=drifts.get(one.generation.number),
            )
            for one in found
        ),
    )


@dataclass
class _Found:
    """What the unit files of a generation say."""

    generation: Generation
    images: Counter[ImageStatus] = field(default_factory=Counter)
    people: PersonCount = field(default_factory=PersonCount)
    skipped: Counter[str] = field(default_factory=Counter)
    commits: list[datetime] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    def add(self, unit: FinishedUnit | DamagedUnit) -> None:
        if isinstance(unit, DamagedUnit):
            self.damaged.append(unit.file.unit_id)
            return
        self.images.update(unit.footer.images)
        self.people += unit.footer.people
        self.skipped.update(unit.footer.skipped)
        self.commits.append(unit.footer.committed_at)

    def status(self, *, published: bool, drift: Drift | None) -> GenerationStatus:
        images, working_s = self.images.total(), _working_s(self.commits)
        return GenerationStatus.of(
            self.generation,
            len(self.commits),
            images,
            images - self.images[ImageStatus.OK],
            _speed(images, len(self.commits), working_s),
            published=published,
            drift=drift,
        )


def _found(
    output: RunOutput, record: RunRecord, planned: Sequence[Generation], strangers: list[str]
) -> list[_Found]:
    """What each generation's unit files say."""
    found = {generation.number: _Found(generation) for generation in planned}
    # A generation may have been planned since.
    files = ((number, file) for number, file in output.all_unit_files(strangers) if number in found)
    for unit in iter_unit_footers(output.storage, files, record.run_id):
        found[unit.generation].add(unit)
    return list(found.values())


def _speed(images: int, units: int, working_s: float) -> float | None:
    """Images/s from the first commit to the last; None where these lie too near to tell."""
    if working_s < _TELLING_S:
        return None
    # What the first commit brought was made before the time that is known.
    return images * (1 - 1 / units) / working_s


def _working_s(commits: list[datetime]) -> float:
    """Seconds from the first commit to the last, without gaps that are pauses."""
    gaps_s = [(later - earlier).total_seconds() for earlier, later in pairwise(sorted(commits))]
    if not gaps_s:
        return 0.0
    pause_s = max(_SHORTEST_PAUSE_S, _MEDIAN_GAPS_PER_PAUSE * median(gaps_s))
    return sum(gap_s for gap_s in gaps_s if gap_s < pause_s)
