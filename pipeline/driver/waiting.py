"""A run that waits says for what, and ends when it has waited enough: for its actors, or for any progress."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import GetTimeoutError

from pipeline.driver.machines import wanted_and_free
from pipeline.stages.cluster import ClusterLayout
from posrefine.errors import ActorsUnavailable, NoProgress, OutOfMemory, PosRefineError

__all__ = ["StartingActors", "waiting_for_actors"]

logger = logging.getLogger(__name__)

_FIRST_WORD_S = 30.0
_NEXT_WORD_S = 120.0
_LAST_WORD_S = 5.0
_LOOK_AGAIN_S = 1.0


class StartingActors:
    """Those that have started, by what is seen of them from time to time.

    Args:
        ledger: where actors announce themselves.
        layout: the actors.
        limit_s: how long a cluster that grows has for the least number of them.
    """

    def __init__(self, ledger: Any, layout: ClusterLayout, limit_s: float) -> None:  # noqa: ANN401
        self._ledger, self._layout, self._limit_s = ledger, layout, limit_s
        self._least = layout.least_actors or 1
        self._begun, self._started = time.monotonic(), 0

    def look(self) -> bool:
        """Whether there are enough; asks the cluster."""
        self._started = ray.get(self._ledger.actors.remote())
        return self._started >= self._least

    def missing(self) -> str:
        """What to say while there are not."""
        started = f"{self._started} of {self._least} inference actors have" if self._started else None
        return (
            f"{started or 'no inference actor has'} started yet; {self._in_words()}; this run waits "
            f"for what other jobs hold, at most {self._limit_s:g} s"
        )

    def _in_words(self) -> str:
        layout = self._layout
        number = self._least if layout.grows else layout.actors
        return wanted_and_free(number, layout.cpus_per_actor, layout.gpus_per_actor)

    def require(self) -> None:
        """Raise `ActorsUnavailable` where the time is over and too few have started; asks nobody.

        Where the cluster stays as it is, Ray Data waits for all of them by itself.
        """
        waited_s = time.monotonic() - self._begun
        if self._layout.grows and self._started < self._least and waited_s > self._limit_s:
            raise self.unavailable()

    def unavailable(self) -> ActorsUnavailable:
        """They did not start in time."""
        return ActorsUnavailable(
            f"the inference actors did not start within {self._limit_s:g} s; {self._in_words()}; run "
            "again when other jobs have left the cluster, or give more time by --actor-wait-s"
        )


@contextmanager
def waiting_for_actors(
    ledger: Any,  # noqa: ANN401
    layout: ClusterLayout,
    limit_s: float,
) -> Iterator[StartingActors]:
    """Around the work of a run: logs what is missing for as long as too few actors have announced themselves.

    Args:
        ledger: where actors announce themselves, and deaths of workers are counted.
        layout: the actors.
        limit_s: how long they are waited for.

    Raises:
        ActorsUnavailable: they did not start in time.
        OutOfMemory: nothing moved any more, and workers had been killed from outside.
        NoProgress: nothing moved any more.
    """
    over, actors = threading.Event(), StartingActors(ledger, layout, limit_s)
    words = threading.Thread(target=_say_until, args=(over, actors), daemon=True, name="waiting")
    words.start()
    try:
        yield actors
    except GetTimeoutError as error:
        raise actors.unavailable() from error
    except ExecutionTimeoutError as error:
        raise _standstill(ray.get(ledger.kills.remote()), str(error)) from error
    finally:
        over.set()
        # It may be asking a cluster that is gone.
        words.join(_LAST_WORD_S)


def _standstill(kills: int, said: str) -> PosRefineError:
    """What to raise where nothing moved any more; `said`: Ray's words, of which the advice is Ray's own."""
    what, _, more = said.partition(". ")
    under_way = re.findall(r"- (.+): (\d+) active task", more)
    where = ", ".join(f"{count} of {name}" for name, count in under_way) or "none"
    found = f"{what}; tasks under way: {where}"
    if kills:
        return OutOfMemory(
            f"{found}; {kills} times workers were killed from outside: most likely memory ran out. Nothing "
            "is lost; give the workers more memory (larger machines, fewer --actors), and run again"
        )
    return NoProgress(
        f"{found}; look at the workers and nodes of the cluster, or give slow units more time by "
        "--no-progress-timeout-s, and run again"
    )


def _say_until(over: threading.Event, actors: StartingActors) -> None:
    next_word = time.monotonic() + _FIRST_WORD_S
    while not over.wait(_LOOK_AGAIN_S):
        if actors.look():
            return
        if time.monotonic() > next_word:
            logger.warning(actors.missing())
            next_word = time.monotonic() + _NEXT_WORD_S
