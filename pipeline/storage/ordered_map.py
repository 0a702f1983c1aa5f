"""Calling a function on many items at once while keeping their order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["map_in_order"]

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item], threads: int) -> Iterator[Result]:
    """The results in the order of the items, computed by threads that run ahead of the consumer.

    At most `threads` results are computed or waiting at any moment. An exception of the function is raised
    where its result would have come; later items are then given up.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="map-in-order") as pool:
        running: deque[Future[Result]] = deque()
        try:
            for item in items:
                if len(running) == threads:
                    yield running.popleft().result()
                running.append(pool.submit(function, item))
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
