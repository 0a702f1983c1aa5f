"""A Ray cluster of this test process, and the processes that belong to it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import ray

__all__ = ["kill_workers", "started_cluster", "worker_pids"]


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
