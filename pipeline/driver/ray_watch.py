"""A run ends with a word when Ray's own processes go away: Ray would end this process without one."""

from __future__ import annotations

import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import ray

from posrefine.errors import ClusterLost

__all__ = ["while_ray_is_there"]

Item = TypeVar("Item")

_LOOK_AGAIN_S = 1.0
_CONNECT_S = 5.0
# Ray ends this process about 15 s after its raylet went, and a minute after the control service did; the
# latter may be started again somewhere.
_RAYLET_PATIENCE_S = 3.0
_CONTROL_PATIENCE_S = 20.0


@dataclass
class _Door:
    """A port of Ray's that must be open.

    Attributes:
        name: of who listens there.
        address: host and port.
        patience_s: how long it may be shut.
        shut_since: when it was first found shut; None while it is open.
    """

    name: str
    address: tuple[str, int]
    patience_s: float
    shut_since: float | None = None

    def require_open(self) -> None:
        """Knock; `ClusterLost` where nobody has opened for longer than is bearable."""
        try:
            socket.create_connection(self.address, timeout=_CONNECT_S).close()
        except OSError as error:
            self.shut_since = self.shut_since or time.monotonic()
            if time.monotonic() - self.shut_since > self.patience_s:
                where = f"{self.address[0]}:{self.address[1]}"
                raise ClusterLost(
                    f"{self.name} at {where} is gone ({error.strerror or error}), "
                    "killed or with its machine; finished units are kept, run again"
                ) from None
        else:
            self.shut_since = None


def while_ray_is_there(items: Iterator[Item], also: Callable[[], None] = lambda: None) -> Iterator[Item]:
    """The items of an iterator that works on Ray.

    It is asked in a thread of its own, because a call into a Ray that is gone neither returns nor hears of
    signals.

    Args:
        items: of the work.
        also: raises what else ends the wait for the next one; called every second that it lasts.

    Raises:
        ClusterLost: the raylet of this machine, or the cluster's control service, is gone.
    """
    doors, over = _doors(), threading.Event()
    found: queue.SimpleQueue[Item | _End] = queue.SimpleQueue()

    def ask() -> None:
        try:
            for item in items:
                found.put(item)
                if over.is_set():
                    return
            found.put(_End(None))
        except BaseException as error:  # noqa: BLE001 - raised where the items are wanted
            found.put(_End(error))

    threading.Thread(target=ask, name="ray-work", daemon=True).start()
    try:
        while True:
            try:
                item = found.get(timeout=_LOOK_AGAIN_S)
            except queue.Empty:
                for door in doors:
                    door.require_open()
                also()
                continue
            if not isinstance(item, _End):
                yield item
            elif item.error is None:
                return
            else:
                raise item.error
    finally:
        over.set()


@dataclass(frozen=True)
class _End:
    """There are no more items: an error, or just the end."""

    error: BaseException | None


def _doors() -> list[_Door]:
    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    doors = [_Door("Ray's control service (GCS)", (host.strip("[]"), int(port)), _CONTROL_PATIENCE_S)]
    for node in ray.nodes():
        if node["NodeID"] == context.get_node_id():
            address = (node["NodeManagerAddress"], node["NodeManagerPort"])
            doors.append(_Door("Ray's raylet of this machine", address, _RAYLET_PATIENCE_S))
    return doors
