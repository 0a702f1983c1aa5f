"""The last words of a worker process: whether it crashed by itself, or was ended from outside.

A decoder that crashes brings a fatal signal upon its process, and Python's fault handler then writes down
where. A process that is killed (by the kernel or by Ray, because memory ran out; with its machine; by a
person) says nothing at all. Ray tells neither apart.
"""

from __future__ import annotations

import faulthandler
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

__all__ = ["WorkerProcess", "last_words_of", "leave_last_words", "leaving_last_words"]

# A worker process may have to be started on that machine first. It is given up where the machine is gone.
_READ_WITHIN_S = 30.0
_STDERR = 2


@dataclass(frozen=True)
class WorkerProcess:
    """A worker process of the cluster.

    Attributes:
        worker_id: Ray's name for it.
        node_id: Ray's name for its machine.
        note: the file there that holds its last words, once it crashed.
    """

    worker_id: str
    node_id: str = ""
    note: str = ""


@dataclass
class _Note:
    """The file of this process, there for as long as somebody is at work in it."""

    users: int = 0
    file: IO[bytes] | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


_note = _Note()


@contextmanager
def leaving_last_words() -> Iterator[WorkerProcess]:
    """While the block lasts, this process writes down what it crashes of; yields the process."""
    with _note.lock:
        if _note.users == 0:
            _note.file = tempfile.NamedTemporaryFile(prefix="posrefine-last-words-", delete=False)  # noqa: SIM115
            faulthandler.enable(_note.file, all_threads=False)
        _note.users += 1
        assert _note.file is not None
        path = _note.file.name
    try:
        context = ray.get_runtime_context()
        yield WorkerProcess(context.get_worker_id(), context.get_node_id(), path)
    finally:
        with _note.lock:
            _note.users -= 1
            if _note.users == 0:
                faulthandler.enable(_STDERR, all_threads=False)
                _note.file.close()
                with suppress(FileNotFoundError):
                    Path(path).unlink()


def leave_last_words(words: str) -> None:
    """Say what this process is about to end itself of, inside the block of `leaving_last_words`."""
    if _note.file is not None:
        _note.file.write(words.encode())
        _note.file.flush()


def last_words_of(process: WorkerProcess) -> str:
    """What a process that died said; nothing where it was ended from outside, or its machine is gone."""
    if process.node_id == ray.get_runtime_context().get_node_id():
        return _read(process.note)
    there = NodeAffinitySchedulingStrategy(process.node_id, soft=False)
    read = ray.remote(num_cpus=0, max_retries=0)(_read).options(scheduling_strategy=there)
    try:
        words: str = ray.get(read.remote(process.note), timeout=_READ_WITHIN_S)
    except RayError:
        return ""
    return words


def _read(note: str) -> str:
    try:
        words = Path(note).read_text(errors="replace")
        Path(note).unlink()
    except FileNotFoundError:
        return ""
    return words.strip()
