"""Time and peak memory of a command with all the processes that it starts."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SAMPLE_EVERY_S = 0.5
PROGRESS_EVERY_S = 30.0


@dataclass(frozen=True)
class Usage:
    """What a command took.

    Attributes:
        seconds: by the clock, imports and the start of Ray included.
        cpu_seconds: of the command and its descendants, Ray's workers among them; what a descendant did after
            it was last looked at, half a second at most, is missing.
        peak_bytes: largest sum of the proportional set sizes of the command and its descendants: all that they
            have in memory, with pages that several share (libraries, Ray's object store) counted once.
        printed: standard output.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    printed: str

    def as_row(self) -> dict[str, float]:
        return {
            "seconds": round(self.seconds, 2),
            "cpu_seconds": round(self.cpu_seconds, 2),
            "peak_bytes": self.peak_bytes,
        }


def measured(command: Sequence[str], folder: Path, title: str) -> Usage:
    """Run a command to its end; RuntimeError where it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder)
    watcher = _Watcher(process.pid, title)
    watcher.start()
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    watcher.end()
    if process.returncode != 0:
        raise RuntimeError(f"{title}: {' '.join(command)} ended with {process.returncode}")
    cpu_seconds = max(usage.ru_utime + usage.ru_stime, watcher.cpu_seconds)
    return Usage(time.perf_counter() - started, cpu_seconds, watcher.peak_bytes, printed)


class _Watcher(threading.Thread):
    """Samples the memory and CPU time of a process and its descendants, and says now and then how it stands."""

    def __init__(self, pid: int, title: str) -> None:
        super().__init__(name="memory-watcher")
        self._pid, self._title, self._done = pid, title, threading.Event()
        self._cpu_seconds: dict[int, float] = {}
        self.peak_bytes = 0

    @property
    def cpu_seconds(self) -> float:
        """Of all processes that were ever seen."""
        return sum(self._cpu_seconds.values())

    def run(self) -> None:
        started = said = time.monotonic()
        while not self._done.wait(SAMPLE_EVERY_S):
            pids = family(self._pid)
            now_bytes = sum(proportional_bytes(pid) for pid in pids)
            self.peak_bytes = max(self.peak_bytes, now_bytes)
            for pid in pids:
                self._cpu_seconds[pid] = max(self._cpu_seconds.get(pid, 0.0), cpu_seconds(pid))
            if time.monotonic() - said >= PROGRESS_EVERY_S:
                said = time.monotonic()
                print(
                    f"{self._title}: {said - started:.0f} s, {now_bytes / 1e9:.2f} GB now, "
                    f"{self.peak_bytes / 1e9:.2f} GB at most",
                    file=sys.stderr,
                    flush=True,
                )

    def end(self) -> None:
        """Stop watching."""
        self._done.set()
        self.join()


def family(pid: int) -> list[int]:
    """The process and its descendants; none where it has ended."""
    try:
        tasks = [task.joinpath("children").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return []
    children = [int(child) for task in tasks for child in task.split()]
    return [pid, *(member for child in children for member in family(child))]


def proportional_bytes(pid: int) -> int:
    """Proportional set size; 0 where the process has ended."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def cpu_seconds(pid: int) -> float:
    """User and system time of the process itself; 0 where it has ended."""
    try:
        # The name, in parentheses, may hold blanks; user and system time are fields 14 and 15.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
