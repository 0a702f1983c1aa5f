"""Where a campaign of kills takes place: a folder, or a bucket of a real S3 store; and a Ray cluster."""

from __future__ import annotations

import multiprocessing
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from ray.cluster_utils import Cluster
from support.ceph import started_ceph
from support.ray_cluster import patiently
from support.s3 import S3Server

__all__ = ["started_ray", "started_store"]


@contextmanager
def started_store(kind: str, folder: Path) -> Iterator[tuple[dict[str, str], str]]:
    """`disk`, `moto` or `ceph`: the variables with which processes reach it, and an address of it."""
    if kind == "disk":
        yield {}, str(folder)
    elif kind == "ceph":
        # It holds sockets, whose paths are short.
        with (
            tempfile.TemporaryDirectory(prefix="ceph", dir="/tmp", ignore_cleanup_errors=True) as short,
            started_ceph(Path(short)) as ceph,
        ):
            yield ceph.environment(), ceph.make_bucket().uri
    else:
        here, there = multiprocessing.Pipe()
        # Its threads would be in the way of the processes that come from this one.
        server = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,))
        server.start()
        try:
            yield here.recv()
        finally:
            server.terminate()
            server.join()


def _serve(pipe: Connection) -> None:
    with S3Server() as server:
        pipe.send((server.environment(), server.make_bucket().uri))
        signal.pause()


@contextmanager
def started_ray() -> Iterator[str]:
    """A cluster of two cores that this process is not connected to; its address."""
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp", ignore_cleanup_errors=True) as folder:
        node = {"num_cpus": 2, "include_dashboard": False, "temp_dir": folder}
        cluster = patiently(lambda: Cluster(initialize_head=True, head_node_args=node), lambda: None)
        try:
            yield cluster.address
        finally:
            for processes in cluster.head_node.all_processes.values():
                for process in processes:
                    process.process.kill()
