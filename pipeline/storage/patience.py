"""How long one call of a store may go on: the more bytes it moves, the longer."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipeline.storage.base import StorageOptions

__all__ = ["Patience"]

_SHORTEST_ATTEMPT_S = 0.1


class Patience:
    """The deadline of one call and all its repetitions.

    How much a read of a whole object moves is known only when the store begins to answer: then the deadline
    moves as well, also that of the attempt under way.

    Args:
        options: how long a call may take.
        size_bytes: that it is known to move.
    """

    def __init__(self, options: StorageOptions, size_bytes: int) -> None:
        self._options, self._size_bytes, self._start = options, size_bytes, time.monotonic()
        self._attempt: asyncio.Timeout | None = None

    @property
    def budget_s(self) -> float:
        """Seconds that the call may take in all, as far as its size is known."""
        return self._options.budget_s(self._size_bytes)

    @property
    def deadline(self) -> float:
        """When the call ends at the latest, by `time.monotonic`."""
        return self._start + self.budget_s

    def expect(self, size_bytes: int) -> None:
        """The call turns out to move so many bytes."""
        self._size_bytes = max(self._size_bytes, size_bytes)
        if self._attempt is not None:
            self._attempt.reschedule(asyncio.get_running_loop().time() + self._rest_s())

    @asynccontextmanager
    async def one_attempt(self, longest_s: float = math.inf) -> AsyncIterator[None]:
        """Around one attempt, in the event loop; `TimeoutError` after `longest_s`, or the call's time."""
        async with asyncio.timeout(min(longest_s, self._rest_s())) as self._attempt:
            yield

    def _rest_s(self) -> float:
        return max(_SHORTEST_ATTEMPT_S, self.deadline - time.monotonic())
