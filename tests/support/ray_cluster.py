"""A Ray cluster of this test process, and the processes that belong to it."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray
from ray.cluster_utils import Cluster

__all__ = ["TwoMachines", "kill_workers", "started_cluster", "started_machines", "worker_pids"]


@contextmanager
def started_cluster(
    environment: Mapping[str, str], hook: Callable[[], None] | None = None, **resources: object
) -> Iterator[str]:
    """A cluster of two CPUs whose workers see `environment`; yields its address for other processes.

    `hook` is called in every worker of this process's own job before anything else; `resources` go to
    `ray.init`.
    """
    with pytest.MonkeyPatch.context() as patch:
        # Ray would make this process join another cluster of the machine.
        patch.delenv("RAY_ADDRESS", raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        runtime_env = {"worker_process_setup_hook": hook} if hook else None
        settings = {"num_cpus": 2, "runtime_env": runtime_env} | resources
        context = ray.init("local", include_dashboard=False, log_to_driver=False, **settings)
    try:
        yield context.address_info["gcs_address"]
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class TwoMachines:
    """Two raylets on loopback, of which the driver is on the first.

    Attributes:
        second: process id of the second one's raylet.
    """

    second: int

    def has_second(self, title: str) -> bool:
        """Whether a worker of the second machine holds `title` in its own."""
        return any(title in _title(pid) for pid in _descendants(self.second))

    def kill_second(self) -> list[str]:
        """Kill the second raylet and its workers, as when a machine loses its power; the workers' titles."""
        workers = {pid: title for pid in _descendants(self.second) if (title := _title(pid))}
        for pid in (self.second, *workers):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return list(workers.values())


@contextmanager
def started_machines() -> Iterator[TwoMachines]:
    """A cluster of two raylets with two CPUs each, to which this process is connected."""
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.delenv("RAY_ADDRESS", raising=False)
        # A folder of its own: there Ray notes the address that others who ask for any cluster would join.
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True))
        machine = {"num_cpus": 2, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=machine | {"temp_dir": folder})
        second = cluster.add_node(**machine)
        try:
            ray.init(cluster.address, log_to_driver=False)
            (raylet,) = second.all_processes["raylet"]
            yield TwoMachines(raylet.process.pid)
        finally:
            ray.shutdown()
            cluster.shutdown()


def worker_pids(title: str) -> list[int]:
    """Processes below this one whose title, as Ray sets it, holds `title`."""
    return [pid for pid in _descendants(os.getpid()) if title in _title(pid)]


def kill_workers(title: str) -> int:
    """Kills them; returns how many there were."""
    pids = worker_pids(title)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return len(pids)


def _descendants(root: int) -> set[int]:
    parents = {int(path.name): _parent(int(path.name)) for path in Path("/proc").glob("[0-9]*")}
    found: set[int] = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {root}


def _parent(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def _title(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
