"""A run that waits says for what, and ends when it has waited enough: for its actors, or for any progress."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import GetTimeoutError

from pipeline.stages.cluster import ClusterLayout
from posrefine.errors import ActorsUnavailable, NoProgress, OutOfMemory, PosRefineError

__all__ = ["waiting_for_actors"]

logger = logging.getLogger(__name__)

_FIRST_WORD_S = 30.0
_NEXT_WORD_S = 120.0
_LAST_WORD_S = 5.0


@contextmanager
def waiting_for_actors(ledger: Any, plan: ClusterLayout, limit_s: float) -> Iterator[None]:  # noqa: ANN401
    """Around the work of a run: logs what is missing for as long as no actor has announced itself.

    Args:
        ledger: where actors announce themselves, and deaths of workers are counted.
        plan: the actors.
        limit_s: how long Ray Data waits for them.

    Raises:
        ActorsUnavailable: they did not start in time.
        OutOfMemory: nothing moved any more, and workers had been killed from outside.
        NoProgress: nothing moved any more.
    """
    over = threading.Event()
    words = threading.Thread(
        target=_say_until, args=(over, lambda: _missing(ledger, plan, limit_s)), daemon=True, name="waiting"
    )
    words.start()
    try:
        yield
    except GetTimeoutError as error:
        raise ActorsUnavailable(
            f"the inference actors did not start within {limit_s:g} s; {_wanted_and_free(plan)}; run again "
            "when other jobs have left the cluster, or give more time by --actor-wait-s"
        ) from error
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


def _say_until(over: threading.Event, missing: Callable[[], str | None]) -> None:
    pause_s = _FIRST_WORD_S
    while not over.wait(pause_s):
        line = missing()
        if line is None:
            return
        logger.warning(line)
        pause_s = _NEXT_WORD_S


def _missing(ledger: Any, plan: ClusterLayout, limit_s: float) -> str | None:  # noqa: ANN401
    """What to say while no actor has announced itself; None from then on."""
    if ray.get(ledger.has_actors.remote()):
        return None
    return (
        f"no inference actor has started yet; {_wanted_and_free(plan)}; this run waits for what other jobs "
        f"hold, at most {limit_s:g} s"
    )


def _wanted_and_free(plan: ClusterLayout) -> str:
    free = ray.available_resources()
    return (
        f"{plan.actors} with {plan.cpus_per_actor:g} CPUs and {plan.gpus_per_actor:g} GPUs each are wanted, "
        f"the cluster has {free.get('CPU', 0):g} CPUs and {free.get('GPU', 0):g} GPUs free"
    )
