"""A Ray cluster of this test process, and the processes that belong to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest
import ray
from ray.cluster_utils import Cluster
from support.ports import free_port

__all__ = [
    "RAY",
    "Head",
    "TwoMachines",
    "descendants",
    "kill_workers",
    "patiently",
    "started_cluster",
    "started_head",
    "started_machines",
    "wait_for_jobs",
    "worker_pids",
]

Started = TypeVar("Started")

_STARTS = 3

RAY = Path(sys.executable).with_name("ray")
"""Ray's command."""


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
        context = patiently(
            lambda: ray.init("local", include_dashboard=False, log_to_driver=False, **settings), ray.shutdown
        )
    try:
        yield context.address_info["gcs_address"]
    finally:
        ray.shutdown()


def patiently(start: Callable[[], Started], clear: Callable[[], None]) -> Started:
    """What `start` gives. Ray gives its processes 30 seconds to start, which a busy machine may not manage.

    `clear` is called before it is tried again.
    """
    for _ in range(_STARTS - 1):
        try:
            return start()
        except Exception as error:
            if "timed out during startup" not in str(error):
                raise
            clear()
    return start()


@dataclass(frozen=True)
class TwoMachines:
    """Two raylets on loopback, of which the driver is on the first.

    Attributes:
        second: process id of the second one's raylet.
    """

    second: int

    def has_second(self, title: str) -> bool:
        """Whether a worker of the second machine holds `title` in its own."""
        return any(title in _title(pid) for pid in descendants(self.second))

    def kill_second(self) -> list[str]:
        """Kill the second raylet and its workers, as when a machine loses its power; the workers' titles."""
        workers = {pid: title for pid in descendants(self.second) if (title := _title(pid))}
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


@dataclass(frozen=True)
class Head:
    """A head node as `ray start` makes one, on loopback.

    Attributes:
        dashboard: its address.
        gcs: address that other nodes join.
        environment: of its processes, and of those who talk to it.
    """

    dashboard: str
    gcs: str
    environment: dict[str, str]


@contextmanager
def started_head(environment: Mapping[str, str], cpus: int = 2) -> Iterator[Head]:
    """A head node whose processes see `environment` and none of this process's variables of Ray's."""
    dashboard, gcs = free_port(), free_port()
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    # A job's `python` must be the one that the suite runs in.
    own["PATH"] = f"{RAY.parent}{os.pathsep}{own['PATH']}"
    # Ray's sockets lie in its folder, and socket paths are short.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        command = [
            *(str(RAY), "start", "--head", "--block", f"--num-cpus={cpus}", f"--port={gcs}"),
            *("--node-ip-address=127.0.0.1", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"),
            *(f"--temp-dir={folder}", "--disable-usage-stats"),
            # Jobs go through it, and by default it is the same of all nodes of a machine.
            f"--dashboard-agent-listen-port={free_port()}",
        ]
        head = Head(f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}", {**own, **environment})
        with subprocess.Popen(command, env=head.environment, stdout=subprocess.DEVNULL) as process:
            try:
                _wait_for(f"{head.dashboard}/api/version", environment.get("RAY_AUTH_TOKEN", ""))
                yield head
            finally:
                process.terminate()


def _wait_for(url: str, token: str) -> None:
    deadline = time.monotonic() + 60
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(request):
                return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"{url} did not answer within a minute")


def wait_for_jobs(head: Head) -> None:
    """Returns once a node takes submitted jobs, which is later than the dashboard's first answer."""
    command = [str(RAY), "job", "submit", "--no-wait", "--", "true"]
    environment = head.environment | {"RAY_ADDRESS": head.dashboard}
    deadline = time.monotonic() + 90
    while True:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd="/")
        if done.returncode == 0:
            return
        if "No available agent" not in done.stdout + done.stderr or time.monotonic() > deadline:
            pytest.fail(f"no job could be submitted to {head.dashboard}: {done.stderr}")
        time.sleep(0.5)


def worker_pids(title: str) -> list[int]:
    """Processes below this one whose title, as Ray sets it, holds `title`."""
    return [pid for pid in descendants(os.getpid()) if title in _title(pid)]


def kill_workers(title: str) -> int:
    """Kills them; returns how many there were."""
    pids = worker_pids(title)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    return len(pids)


def descendants(root: int) -> set[int]:
    """Processes below one, not itself."""
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
