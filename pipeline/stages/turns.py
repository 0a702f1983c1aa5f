"""Who may be at work in a process: many together, or one alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Turns"]


class Turns:
    """Lets threads be at work at the same time, unless one of them must be alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._at_work, self._alone = 0, False

    @contextmanager
    def turn(self, *, alone: bool) -> Iterator[None]:
        """Waits until it may; with `alone` until nobody else is at work, and nobody else begins meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone and not (alone and self._at_work))
            self._at_work, self._alone = self._at_work + 1, alone
        try:
            yield
        finally:
            with self._changed:
                self._at_work, self._alone = self._at_work - 1, False
                self._changed.notify_all()
