"""A Ray cluster with Ray's own autoscaler, whose machines are raylets on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import ray
from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID, FAKE_HEAD_NODE_TYPE
from support.ports import free_port
from support.ray_cluster import RAY, descendants

__all__ = ["Autoscaled", "started_autoscaler"]

_TESTS = Path(__file__).parents[1]
_OBJECT_STORE_BYTES = 100_000_000
_START_S = 120


@dataclass(frozen=True)
class Autoscaled:
    """The cluster: a head without CPUs, and the machines that the autoscaler starts.

    Attributes:
        address: of the head.
        pid: of the process from which all others descend.
    """

    address: str
    pid: int

    def machines(self) -> set[str]:
        """Node ids of the living machines beside the head; this process must be connected."""
        return {node["NodeID"] for node in ray.nodes() if node["Alive"]} - {FAKE_HEAD_NODE_ID}

    def kill(self, machine: str) -> None:
        """Kill its raylet and all its workers, as when a spot machine is taken away."""
        for raylet in descendants(self.pid):
            if machine in _command_line(raylet) and "raylet/raylet" in _command_line(raylet):
                for pid in (raylet, *descendants(raylet)):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                return
        raise AssertionError(f"no raylet of the machine {machine}")


@contextmanager
def started_autoscaler(
    most: int, cpus: int = 1, environment: Mapping[str, str] | None = None
) -> Iterator[Autoscaled]:
    """A cluster that begins without machines and grows to `most` of them with `cpus` each."""
    port = free_port()
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    own |= {
        "PATH": f"{RAY.parent}{os.pathsep}{own['PATH']}",
        # Of what a test hands over, workers import the parts.
        "PYTHONPATH": os.pathsep.join((str(_TESTS), str(_TESTS.parent))),
        "RAY_AUTH_MODE": "disabled",
        # Each machine would hold all memory of this one for its own, and kill workers when others have it.
        "RAY_memory_monitor_refresh_ms": "0",
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        **(environment or {}),
    }
    # Ray's sockets lie in its folder, and socket paths are short.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        config = Path(folder, "autoscaler.json")
        config.write_text(json.dumps(_configuration(f"127.0.0.1:{port}", most, cpus)))
        command = [
            *(str(RAY), "start", "--head", "--block", "--num-cpus=0", f"--port={port}"),
            *(f"--autoscaling-config={config}", f"--temp-dir={folder}", "--disable-usage-stats"),
            *(f"--object-store-memory={_OBJECT_STORE_BYTES}", "--include-dashboard=false"),
            *(f"--dashboard-agent-listen-port={free_port()}", "--node-ip-address=127.0.0.1"),
        ]
        with (
            Path(folder, "said").open("w") as said,
            subprocess.Popen(command, env=own, stdout=said, stderr=subprocess.STDOUT) as head,
        ):
            try:
                _wait_for_head(head, Path(folder, "said"))
                yield Autoscaled(f"127.0.0.1:{port}", head.pid)
            finally:
                # Again, because the autoscaler may be starting another machine.
                while left := _alive({*descendants(head.pid), *_working_in(folder)}):
                    for pid in left:
                        with suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                    time.sleep(0.1)
                head.kill()


def _wait_for_head(head: subprocess.Popen[bytes], said: Path) -> None:
    deadline = time.monotonic() + _START_S
    while "Ray runtime started" not in said.read_text():
        if head.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"no head node was started: {said.read_text()}")
        time.sleep(0.3)


def _configuration(address: str, most: int, cpus: int) -> dict[str, object]:
    """What `ray start --autoscaling-config` takes, with machines that are none."""
    empty_lists = ("initialization", "setup", "head_setup", "worker_setup", "head_start_ray")
    return {
        "cluster_name": "machines",
        "max_workers": most,
        "upscaling_speed": 100,
        "idle_timeout_minutes": 10,
        "provider": {
            "type": "external",
            "module": "support.spot_machines.SpotMachines",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "gcs_address": address,
        },
        "head_node_type": FAKE_HEAD_NODE_TYPE,
        "available_node_types": {
            FAKE_HEAD_NODE_TYPE: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "machine": {
                "resources": {"CPU": cpus, "object_store_memory": _OBJECT_STORE_BYTES},
                "node_config": {},
                "min_workers": 0,
                "max_workers": most,
            },
        },
        **{f"{name}_commands": [] for name in (*empty_lists, "worker_start_ray")},
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        "rsync_exclude": [],
        "rsync_filter": [],
    }


def _working_in(folder: str) -> set[int]:
    """Processes that have that folder in their command lines."""
    pids = (int(path.name) for path in Path("/proc").glob("[0-9]*"))
    return {pid for pid in pids if folder in _command_line(pid)}


def _alive(pids: set[int]) -> set[int]:
    # One that ended and that nobody has asked after is still there, without a command line.
    return {pid for pid in pids if _command_line(pid)}


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""
