"""The driver's connection to Ray: quiet, and with our own errors instead of Ray's wrappings."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.exceptions import RayError

from posrefine.errors import PosRefineError

__all__ = ["own_errors", "ray_session"]

_IDLE_WORKER_MS = "60000"


@contextmanager
def ray_session() -> Iterator[None]:
    """Connected to Ray while the block lasts.

    That is the cluster which `RAY_ADDRESS` or Ray's own record names, or else one on this machine alone. A
    process that is connected already stays so.
    """
    if ray.is_initialized():
        yield
        return
    # Ray ends a worker that has had nothing to do for a second, and the next unit waits and pays for another
    # one. This is read by a Ray that is started here, not by a cluster that is joined.
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", _IDLE_WORKER_MS)
    # Without a record of its progress blocks and plans: the run reports by itself.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    on_termination = signal.getsignal(signal.SIGTERM)
    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    if threading.current_thread() is threading.main_thread():
        # Ray puts its own handler in the place of the program's.
        signal.signal(signal.SIGTERM, on_termination)
    try:
        yield
    finally:
        ray.shutdown()


@contextmanager
def own_errors() -> Iterator[None]:
    """Raises a worker's `PosRefineError` as itself, out of whatever Ray wrapped around it."""
    try:
        yield
    except RayError as error:
        original = _original(error)
        if original is None:
            raise
        raise original from error


def _original(error: BaseException) -> PosRefineError | None:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        if isinstance(current, PosRefineError) and not isinstance(current, RayError):
            return current
        seen.add(id(current))
        current = getattr(current, "cause", None) or current.__cause__
    return None
