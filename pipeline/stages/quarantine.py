"""The attempt ledger: which unit, and at last which image, was being worked on when a worker died.

Ray restarts actors and tasks without end, so an input that kills its process would be tried for ever. Workers
announce every attempt to one ledger and take their name off it however they end, unless they die.

A death counts against an image only if the process crashed by itself and worked on that image alone. What
crashed near others is worked on image by image, with nothing else in its process. A process that was ended
from outside is nobody's fault; what it worked on goes on in smaller pieces, in case memory was short.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.stages.last_words import WorkerProcess, last_words_of, leaving_last_words
from pipeline.stages.turns import Turns
from posrefine.errors import OutOfMemory

__all__ = ["CRASHES_BEFORE_ISOLATION", "Attempt", "AttemptLedger", "OpenAttempt", "attempt", "start_ledger"]

CRASHES_BEFORE_ISOLATION = 3
# Memory that was short once may suffice for a smaller piece; short twice, it gets the smallest.
_KILLS_BEFORE_ISOLATION = 2
# Twice, because memory with a bad bit crashes a process too, but hardly twice at the same image.
_CRASHES_BEFORE_QUARANTINE = 2
# Whether it was a kill, or the image's decoder called `exit`, is found out then.
_KILLS_BEFORE_DOUBT = 2
# The smallest piece that is killed so often will be killed the next time.
_KILLS_BEFORE_THE_END = 3


@dataclass(frozen=True)
class Attempt:
    """One go of one stage at one unit.

    Attributes:
        number: 1 for the first go.
        isolated: whether to go image by image, announcing each one, with nothing else in the process.
        quarantined: uris of images that must not be touched again.
        timed_out: uris of images whose time was over before they were done.
        hopeless: whether workers crash of the unit before they come to any image: it must not be touched.
        kills: how many earlier attempts were ended from outside; each wants less memory held at once.
        doubtful: uris of images that were worked on alone when two of them were: a child tries these first.
        given_up: the image (empty: the unit itself) that was worked on alone whenever the last of them were.
    """

    number: int
    isolated: bool
    quarantined: frozenset[str]
    timed_out: frozenset[str]
    hopeless: bool
    kills: int = 0
    doubtful: frozenset[str] = frozenset()
    given_up: str | None = None

    def leaves_out(self, image: str) -> bool:
        """Whether the image of that uri must not be touched."""
        return self.hopeless or image in self.quarantined

    def less(self, size_bytes: int) -> int:
        """What of a number of bytes held at once is left after those kills."""
        return size_bytes >> 2 * self.kills


@dataclass
class _Record:
    crashes: int = 0
    kills: int = 0
    process: WorkerProcess | None = None
    """Where the attempt under way is; None where there is none."""
    alone: bool = False
    image: str = ""
    """What an isolated attempt is working on; empty before its first image."""
    crashed_alone: Counter[str] = field(default_factory=Counter)
    killed_alone: Counter[str] = field(default_factory=Counter)
    timed_out: set[str] = field(default_factory=set)

    @property
    def isolated(self) -> bool:
        return self.crashes >= CRASHES_BEFORE_ISOLATION or self.kills >= _KILLS_BEFORE_ISOLATION

    def charge(self, *, crashed: bool) -> None:
        if crashed:
            self.crashes += 1
            self.crashed_alone[self.image] += self.alone
        else:
            self.kills += 1
            self.killed_alone[self.image] += self.alone
        self.process = None


class AttemptLedger:
    """The books of all units, in one Ray actor; a restart loses them, which only costs further attempts."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], _Record] = {}
        self._actors: set[str] = set()

    def announce_actor(self, actor_id: str) -> None:
        """An inference actor found its place in the cluster, for the first time or again."""
        self._actors.add(actor_id)

    def actors(self) -> int:
        """How many inference actors ever did."""
        return len(self._actors)

    def died_at(self, stage: str, unit_id: str) -> WorkerProcess | None:
        """The process of an attempt that is still announced although there is to be another: it died."""
        return self._record(stage, unit_id).process

    def bury(self, process: WorkerProcess, last_words: str) -> None:
        """Charge the death of a process to all that it worked on; silent, it was ended from outside."""
        for record in self._records.values():
            if record.process == process:
                record.charge(crashed=bool(last_words))

    def kills(self) -> int:
        """Attempts that were ended from outside."""
        return sum(record.kills for record in self._records.values())

    def is_isolated(self, stage: str, unit_id: str) -> bool:
        """Whether the next attempt will have to be alone in its process."""
        return self._record(stage, unit_id).isolated

    def begin(self, stage: str, unit_id: str, process: WorkerProcess) -> Attempt:
        """Announce an attempt."""
        record = self._record(stage, unit_id)
        record.process, record.alone, record.image = process, record.isolated, ""
        crashers = _often(record.crashed_alone, _CRASHES_BEFORE_QUARANTINE)
        return Attempt(
            number=record.crashes + record.kills + 1,
            isolated=record.isolated,
            quarantined=crashers - {""},
            timed_out=frozenset(record.timed_out),
            hopeless="" in crashers,
            kills=record.kills,
            doubtful=_often(record.killed_alone, _KILLS_BEFORE_DOUBT) - {""},
            given_up=next(iter(_often(record.killed_alone, _KILLS_BEFORE_THE_END)), None),
        )

    def touch(self, stage: str, unit_id: str, image: str) -> None:
        """Announce the image that is about to be worked on alone."""
        self._record(stage, unit_id).image = image

    def time_out(self, stage: str, unit_id: str, image: str, process: WorkerProcess) -> None:
        """The worker ends itself over an image whose time is over, which is no death to wonder about."""
        self._record(stage, unit_id).timed_out.add(image)
        for record in self._records.values():
            if record.process == process:
                record.process = None

    def end(self, stage: str, unit_id: str) -> None:
        """The worker lives: the attempt ended, well or with an error that was raised."""
        self._record(stage, unit_id).process = None

    def _record(self, stage: str, unit_id: str) -> _Record:
        return self._records.setdefault((stage, unit_id), _Record())


def _often(counts: Counter[str], times: int) -> frozenset[str]:
    return frozenset(name for name, count in counts.items() if count >= times)


def start_ledger() -> Any:  # noqa: ANN401 - Ray's actor handles have no static type
    """Start the ledger as an actor on this node, the driver's: any other may go away during the run."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(AttemptLedger)
    return actor.options(scheduling_strategy=here).remote()


@dataclass(frozen=True)
class OpenAttempt:
    """An attempt of this process, and how its progress is told to the ledger."""

    this: Attempt
    touch: Callable[[str], None]
    time_out: Callable[[str], None]


_turns = Turns()


@contextmanager
def attempt(ledger: Any, stage: str, unit_id: str) -> Iterator[OpenAttempt]:  # noqa: ANN401
    """Announce an attempt of this process for as long as the block lasts.

    Raises:
        OutOfMemory: earlier attempts were ended from outside again and again, at the smallest piece of work.
    """
    died_at = ray.get(ledger.died_at.remote(stage, unit_id))
    if died_at is not None:
        ray.get(ledger.bury.remote(died_at, last_words_of(died_at)))
    alone = ray.get(ledger.is_isolated.remote(stage, unit_id))
    with _turns.turn(alone=alone), leaving_last_words() as process:
        this: Attempt = ray.get(ledger.begin.remote(stage, unit_id, process))

        def touch(image: str) -> None:
            ray.get(ledger.touch.remote(stage, unit_id, image))

        def time_out(image: str) -> None:
            ray.get(ledger.time_out.remote(stage, unit_id, image, process))

        try:
            _require_memory(this, stage, unit_id)
            yield OpenAttempt(this, touch, time_out)
        except MemoryError:
            # As if memory had run out a moment later: another worker goes on in smaller pieces.
            os._exit(1)
        finally:
            ray.get(ledger.end.remote(stage, unit_id))


def _require_memory(this: Attempt, stage: str, unit_id: str) -> None:
    if this.given_up is None:
        return
    what = f"the image {this.given_up}" if this.given_up else "the unit itself, before its first image"
    raise OutOfMemory(
        f"unit {unit_id}: {this.kills} workers of the stage {stage} were killed from outside, the last "
        f"{_KILLS_BEFORE_THE_END} while at work on nothing but {what}: most likely memory ran out. Nothing "
        "is lost and no image is blamed. Give the workers more memory (larger machines, fewer --actors, or "
        "--max-pixels and --max-image-bytes below what it takes), and run again"
    )
