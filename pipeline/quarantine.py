"""The attempt ledger: which unit, and at last which image, was being worked on when a worker died.

Ray restarts actors and tasks without end, so an input that kills its process would be tried for ever. Workers
announce every attempt to one ledger and take their name off it however they end, unless they die.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

__all__ = ["DEATHS_BEFORE_ISOLATION", "Attempt", "AttemptLedger", "attempt", "report_timeout", "start_ledger"]

DEATHS_BEFORE_ISOLATION = 3
# Twice, because the second death tells an image that kills from a machine that went away at the wrong moment.
_DEATHS_BEFORE_QUARANTINE = 2


@dataclass(frozen=True)
class Attempt:
    """One go of one stage at one unit.

    Attributes:
        number: 1 for the first go.
        isolated: whether to go image by image, announcing each one.
        quarantined: uris of images that must not be touched again.
        timed_out: uris of images whose time was over before they were done.
        hopeless: whether workers die of the unit before they come to any image: it must not be touched.
    """

    number: int
    isolated: bool
    quarantined: frozenset[str]
    timed_out: frozenset[str]
    hopeless: bool


@dataclass
class _Record:
    deaths: int = 0
    running: bool = False
    image: str | None = None
    """What an isolated attempt is working on; None before its first image."""
    isolated_deaths: Counter[str | None] = field(default_factory=Counter)
    timed_out: set[str] = field(default_factory=set)

    @property
    def isolated(self) -> bool:
        return self.deaths >= DEATHS_BEFORE_ISOLATION


class AttemptLedger:
    """The books of all units, in one Ray actor; a restart loses them, which only costs further attempts."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, str], _Record] = {}
        self._has_actors = False

    def announce_actor(self) -> None:
        """An inference actor found its place in the cluster."""
        self._has_actors = True

    def has_actors(self) -> bool:
        """Whether any inference actor ever did."""
        return self._has_actors

    def begin(self, stage: str, unit_id: str) -> Attempt:
        """Announce an attempt; one that is still announced from before died."""
        record = self._records.setdefault((stage, unit_id), _Record())
        if record.running:
            if record.isolated:
                record.isolated_deaths[record.image] += 1
            record.deaths += 1
        record.running, record.image = True, None
        killers = {
            image for image, deaths in record.isolated_deaths.items() if deaths >= _DEATHS_BEFORE_QUARANTINE
        }
        return Attempt(
            number=record.deaths + 1,
            isolated=record.isolated,
            quarantined=frozenset(image for image in killers if image is not None),
            timed_out=frozenset(record.timed_out),
            hopeless=None in killers,
        )

    def touch(self, stage: str, unit_id: str, image: str) -> None:
        """Announce the image that is about to be worked on alone."""
        self._records[stage, unit_id].image = image

    def time_out(self, stage: str, unit_id: str, image: str) -> None:
        """The worker ends itself over an image whose time is over, which is no death to wonder about."""
        record = self._records.setdefault((stage, unit_id), _Record())
        record.timed_out.add(image)
        record.running = False

    def end(self, stage: str, unit_id: str) -> None:
        """The worker lives: the attempt ended, well or with an error that was raised."""
        record = self._records.get((stage, unit_id))
        if record is not None:
            record.running = False


def start_ledger() -> Any:  # noqa: ANN401 - Ray's actor handles have no static type
    """Start the ledger as an actor on this node, the driver's: any other may go away during the run."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(AttemptLedger)
    return actor.options(scheduling_strategy=here).remote()


def report_timeout(ledger: Any, stage: str, unit_id: str, image: str) -> None:  # noqa: ANN401
    """Have the ledger know that an image's time is over, before this process ends because of it."""
    ray.get(ledger.time_out.remote(stage, unit_id, image))


@contextmanager
def attempt(ledger: Any, stage: str, unit_id: str) -> Iterator[tuple[Attempt, Callable[[str], None]]]:  # noqa: ANN401
    """Announce an attempt of this process for as long as the block lasts.

    Yields:
        The attempt, and the function that announces the uri of the image about to be worked on alone.
    """
    opened: Attempt = ray.get(ledger.begin.remote(stage, unit_id))

    def touch(image: str) -> None:
        ray.get(ledger.touch.remote(stage, unit_id, image))

    try:
        yield opened, touch
    finally:
        ray.get(ledger.end.remote(stage, unit_id))
