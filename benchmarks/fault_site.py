"""Where a campaign of faults takes place: a store behind a proxy, clusters of Ray, and drivers."""

from __future__ import annotations

import multiprocessing
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import fault_driver
from ray.cluster_utils import Cluster
from support.faultproxy import FaultProxy
from support.ray_cluster import patiently
from support.s3 import Bucket, S3Server

__all__ = ["Site", "started_site"]


@dataclass
class Site:
    """The store, the proxy before it, and how drivers are started."""

    bucket: Bucket
    proxy: FaultProxy
    faults_per_start: int
    folder: Path
    processes: Any
    _struck: int = 0
    _cluster: Cluster | None = None
    _ray_folder: Any = None

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *error: object) -> None:
        self.drop_cluster()

    def cluster(self) -> Cluster:
        """One that this process is not connected to, kept for as long as nobody damages it."""
        if self._cluster is None:
            # Ray's sockets lie in its folder, and socket paths are short.
            self._ray_folder = tempfile.TemporaryDirectory(
                prefix="ray", dir="/tmp", ignore_cleanup_errors=True
            )
            node = {"num_cpus": 2, "include_dashboard": False, "temp_dir": self._ray_folder.name}
            self._cluster = patiently(
                lambda: Cluster(initialize_head=True, head_node_args=node), lambda: None
            )
        return self._cluster

    def drop_cluster(self) -> None:
        """Have the next one who asks get another."""
        if self._cluster is None:
            return
        for processes in self._cluster.head_node.all_processes.values():
            for process in processes:
                process.process.kill()
        self._ray_folder.cleanup()
        self._cluster = None

    def storage_faults(self) -> Counter[str]:
        """Those that struck since the last call."""
        struck = self.proxy.struck()[self._struck :]
        self._struck += len(struck)
        return Counter(f"storage: {kind}" for kind in struck)

    def start(self, command: str, given: str, output: str, address: str | None, when: str) -> BaseProcess:
        """A driver in a process of its own."""
        log = str(self.folder / f"{output.rpartition('/')[2]}.log")
        driver: BaseProcess = self.processes.Process(
            target=fault_driver.drive, args=(command, given, output, address, when, log)
        )
        driver.start()
        return driver


@contextmanager
def started_site(faults_per_start: int) -> Iterator[Site]:
    with (
        S3Server() as server,
        FaultProxy(server.host, server.port) as proxy,
        tempfile.TemporaryDirectory(prefix="faults") as folder,
    ):
        os.environ |= server.environment(proxy.url) | {"AWS_EC2_METADATA_DISABLED": "true"}
        processes = multiprocessing.get_context("forkserver")
        processes.set_forkserver_preload(["__main__", "fault_driver"])
        yield Site(server.make_bucket(), proxy, faults_per_start, Path(folder), processes)
