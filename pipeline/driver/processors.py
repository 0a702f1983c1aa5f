"""How many processors a cluster had while a run was at work, by what was seen of it from time to time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["Processors", "looking_now_and_then"]

logger = logging.getLogger(__name__)

_LOOK_AGAIN_S = 5.0
_LAST_LOOK_S = 5.0


class Processors:
    """GPUs or cores over time.

    Between two looks the larger number counts: a machine that came was there since the look before, one that
    went until the look after. So no machine's time is left out of what a run is held against.

    Args:
        at_s: when they were first counted.
        count: how many there were.
    """

    def __init__(self, at_s: float, count: float) -> None:
        self._looks = [(at_s, count)]

    def see(self, at_s: float, count: float) -> None:
        """So many are there at a later moment."""
        # Between looks that found the same there is nothing to remember.
        if len(self._looks) > 1 and self._looks[-1][1] == self._looks[-2][1] == count:
            self._looks.pop()
        self._looks.append((at_s, count))

    def mean(self, from_s: float, to_s: float) -> float:
        """How many there were on an average of that time; where it has no length, at its end."""
        if to_s <= from_s:
            return self._looks[-1][1]
        ends = [*self._looks[1:], (max(to_s, self._looks[-1][0]), self._looks[-1][1])]
        total = 0.0
        for (begin_s, before), (end_s, after) in zip(self._looks, ends, strict=True):
            total += max(0.0, min(end_s, to_s) - max(begin_s, from_s)) * max(before, after)
        # Before the first look there were those that it found.
        total += max(0.0, self._looks[0][0] - from_s) * self._looks[0][1]
        return total / (to_s - from_s)


@contextmanager
def looking_now_and_then(look: Callable[[], None]) -> Iterator[None]:
    """Calls `look` in a thread every few seconds while the block lasts."""
    over = threading.Event()

    def go_on() -> None:
        while not over.wait(_LOOK_AGAIN_S):
            try:
                look()
            except Exception:
                logger.debug("the cluster's machines could not be asked for", exc_info=True)

    looking = threading.Thread(target=go_on, name="processors", daemon=True)
    looking.start()
    try:
        yield
    finally:
        over.set()
        # It may be asking a cluster that is gone.
        looking.join(_LAST_LOOK_S)
