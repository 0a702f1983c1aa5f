"""The driver's connection to Ray: quiet, and with our own errors instead of Ray's wrappings."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import ray
from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayError, RayTaskError

from posrefine.errors import ClusterLost, ConfigurationError, OutOfMemory, PosRefineError

__all__ = ["map_in_tasks", "ray_is_there", "ray_session", "unwrapped_worker_errors"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

_IDLE_WORKER_MS = "60000"
_HEAD_WAIT_S = 30.0
_CONNECT_S = 10.0
_LOOK_AGAIN_S = 1.0
_ADVICE = re.compile(r"\nFailed to .+ after \d+/\d+ attempts")
_ROOM_MIB = 32
_TASKS_PER_CPU = 2
_STDERR = 2


def ray_is_there() -> bool:
    """Whether `ray_session` would start no Ray, but join one that runs, or that `RAY_ADDRESS` names."""
    if ray.is_initialized() or os.environ.get("RAY_ADDRESS"):
        return True
    noted = _noted_cluster()
    return noted is not None and _silence_of_noted(noted) is None


@contextmanager
def ray_session() -> Iterator[None]:
    """Connected to Ray while the block lasts.

    That is the cluster which `RAY_ADDRESS` names, or else the one that `ray start` noted on this machine if
    it answers, or else one of this process's own. A process that is connected already stays so.

    Raises:
        ClusterLost: Ray could not be started or joined; or the block raised that it is gone.
        ConfigurationError: nobody answers where `RAY_ADDRESS` says, or the disk that Ray works on is full.
    """
    if ray.is_initialized():
        yield
        return
    address = _address()
    # Ray ends a worker that has had nothing to do for a second, and the next unit waits and pays for another
    # one. This is read by a Ray that is started here, not by a cluster that is joined.
    os.environ.setdefault("RAY_idle_worker_killing_time_threshold_ms", _IDLE_WORKER_MS)
    # Ray's own C++ lines, such as that a worker with constructor arguments may not be restarted, which its
    # data sets bring about, not we, and which it calls an error. RAY_BACKEND_LOG_LEVEL=info brings them back.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # And what becomes of calls that nobody waits for, such as those that keep its data sets' own books: where
    # memory ran out or their machine went they fail for good, each with a traceback. What matters is waited
    # for.
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")
    # Without a record of its progress blocks and plans: the run reports by itself.
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    on_termination = signal.getsignal(signal.SIGTERM)
    _require_room()
    try:
        with _stderr_without_log_levels():
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        # Ray raises bare ones where its processes do not start in time.
        raise ClusterLost(
            f"Ray could not be started or joined: {_first_line(error)}; its folder {_ray_folder()} has "
            f"{_free_mib():,.0f} MiB free"
        ) from error
    if threading.current_thread() is threading.main_thread():
        # Ray puts its own handler in the place of the program's.
        signal.signal(signal.SIGTERM, on_termination)
    try:
        yield
    except ClusterLost:
        # Ray would wait for an answer to its goodbye; this process is about to end anyway.
        raise
    except BaseException:
        ray.shutdown()
        raise
    ray.shutdown()


@contextmanager
def _stderr_without_log_levels() -> Iterator[None]:
    """What the block writes to stderr comes behind it, without the line on how much Ray logs."""
    sys.stderr.flush()
    try:
        stderr = os.dup(_STDERR)
    except OSError:  # closed
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, _STDERR)
            os.close(stderr)
            held.seek(0)
            for line in held:
                if b"Set ray log level from" not in line:
                    os.write(_STDERR, line)


def _ray_folder() -> str:
    """Where Ray keeps its sockets, logs and spilled objects on this machine."""
    return os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"


def _free_mib() -> float:
    return shutil.disk_usage(_ray_folder()).free / 2**20


def _require_room() -> None:
    """`ConfigurationError` where Ray's disk is full: Ray would wait for its own files, and not say so."""
    folder = _ray_folder()
    if Path(folder).is_dir() and _free_mib() < _ROOM_MIB:
        raise ConfigurationError(
            f"{folder}: {_free_mib():,.1f} MiB free, and Ray needs {_ROOM_MIB} MiB to start; make room, or "
            "name a folder on another disk by RAY_TMPDIR"
        )


def _address() -> str | None:
    """What `ray.init` is to be told: `local`, or None where it finds a cluster that answers by itself.

    Ray would try to join one that is gone for nine minutes, silently.

    Raises:
        ConfigurationError: `RAY_ADDRESS` names a cluster that does not answer.
    """
    named = os.environ.get("RAY_ADDRESS", "")
    if named not in ("", "auto"):
        _require_answer(named)
        return None
    noted = _noted_cluster()
    if noted is None:
        return None
    reason = _silence_of_noted(noted)
    if reason is None:
        return None
    what = f"{_record_of_clusters()} names the Ray cluster {noted!r}, which does not answer ({reason})"
    if named:
        raise ConfigurationError(
            f"RAY_ADDRESS={named}: {what}; start it again, remove the file, or unset RAY_ADDRESS to use this "
            "machine alone"
        )
    logger.warning("%s; Ray is started on this machine alone", what)
    return "local"


def _record_of_clusters() -> Path:
    """Where `ray start` leaves its address, which stays also when it is killed or its machine starts anew."""
    return Path(_ray_folder(), "ray", "ray_current_cluster")


def _noted_cluster() -> str | None:
    """The address there; None where there is none, or Ray cannot read it either."""
    try:
        return _record_of_clusters().read_text(errors="replace").strip()
    except OSError:
        return None


def _silence_of_noted(noted: str) -> str | None:
    """Why nobody answers there, also where that is no address; None where somebody does."""
    return _silence(noted) if _host_and_port(noted) else "no address"


def _require_answer(address: str) -> None:
    """`ConfigurationError` where nobody listens at the address.

    A head that is being started is waited for a while.
    """
    until = time.monotonic() + _HEAD_WAIT_S
    while (reason := _silence(address)) is not None:
        if time.monotonic() > until:
            raise ConfigurationError(
                f"RAY_ADDRESS={address}: no Ray cluster answers there within {_HEAD_WAIT_S:g} s ({reason}); "
                "start it, correct the address, or unset RAY_ADDRESS to use this machine alone"
            )
        time.sleep(_LOOK_AGAIN_S)


def _silence(address: str) -> str | None:
    """Why nobody answers at the address; None where somebody does, or where it names no port."""
    where = _host_and_port(address)
    if where is None:
        return None
    try:
        socket.create_connection(where, timeout=_CONNECT_S).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _host_and_port(address: str) -> tuple[str, int] | None:
    host, _, port = address.rpartition("://")[2].partition("/")[0].rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdecimal() else None


@contextmanager
def unwrapped_worker_errors() -> Iterator[None]:
    """Raises a worker's `PosRefineError` as itself, out of whatever Ray wrapped around it.

    Raises:
        OutOfMemory: Ray killed workers for memory and gave up.
        ClusterLost: Ray could not go on for another reason that is not the worker's code.
    """
    try:
        yield
    except RayError as error:
        original = _original(error)
        if original is not None:
            # Ray Data adds advice of its own to the message.
            original.args = tuple(
                _ADVICE.split(arg)[0] if isinstance(arg, str) else arg for arg in original.args
            )
            raise original from error
        if isinstance(error, OutOfMemoryError):
            raise OutOfMemory(f"Ray killed workers because memory ran out: {_first_line(error)}") from error
        if isinstance(error, RayTaskError | GetTimeoutError):
            raise
        raise ClusterLost(f"Ray could not go on: {type(error).__name__}: {_first_line(error)}") from error


def map_in_tasks(function: Callable[..., R], items: Iterable[T], *shared: object) -> Iterator[R]:
    """What `function(item, *shared)` returns, in the order of the items, found in Ray tasks of a core each.

    A few tasks are ahead of what is taken. `shared` goes to the object store once; workers on one machine map
    the same copy.

    Raises:
        PosRefineError: what a task raised.
        ClusterLost: Ray could not be started, or is gone.
    """
    with ray_session(), unwrapped_worker_errors():
        stored = [ray.put(value) for value in shared]
        task = ray.remote(num_cpus=1)(function)
        window = max(1, int(ray.cluster_resources().get("CPU", 1))) * _TASKS_PER_CPU
        pending: deque[ray.ObjectRef] = deque()
        for item in items:
            if len(pending) == window:
                yield ray.get(pending.popleft())
            pending.append(task.remote(item, *stored))
        while pending:
            yield ray.get(pending.popleft())


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def _original(error: BaseException) -> PosRefineError | None:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        if isinstance(current, PosRefineError) and not isinstance(current, RayError):
            return current
        seen.add(id(current))
        current = getattr(current, "cause", None) or current.__cause__
    return None
