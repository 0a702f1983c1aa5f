"""What a person sees of a run: a live line in a terminal, a plain line every ten seconds in a log."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from pipeline.telemetry import RunTally

__all__ = ["progress_line", "show_progress"]

_LOG_INTERVAL_S = 10.0


def progress_line(tally: RunTally) -> str:
    """Units, images, speed, time left and failures in one line."""
    parts = [
        f"{tally.units_done:,} of {tally.units_total:,} units",
        f"{tally.images_done:,} images",
        f"{tally.images_per_s_now:,.1f} images/s",
    ]
    if tally.remaining_s is not None:
        parts.append(f"{timedelta(seconds=round(tally.remaining_s))} left")
    parts.append(f"{tally.images_failed:,} failed")
    return " · ".join(parts)


@contextmanager
def show_progress(tally: Callable[[], RunTally], stream: TextIO = sys.stderr) -> Iterator[None]:
    """Shows `tally()` on `stream` while the block lasts."""
    if stream.isatty():
        console = Console(file=stream)
        with Live(get_renderable=lambda: Text(progress_line(tally())), console=console, refresh_per_second=2):
            yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_log_until, args=(over, tally, stream), daemon=True, name="progress")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _log_until(over: threading.Event, tally: Callable[[], RunTally], stream: TextIO) -> None:
    while not over.wait(_LOG_INTERVAL_S):
        print(progress_line(tally()), file=stream, flush=True)
