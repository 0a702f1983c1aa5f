"""One line that tells where a job stands: with a bar in a terminal, every ten seconds in a log."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

__all__ = ["Standing", "live_line"]

logger = logging.getLogger(__name__)

_LOG_INTERVAL_S = 10.0
_LONGEST_BAR, _SHORTEST_BAR = 24, 8


@dataclass(frozen=True)
class Standing:
    """Where a job stands.

    Attributes:
        words: in a few numbers.
        share: of the work that is done, 0 to 1; None where that is not known.
    """

    words: str
    share: float | None = None

    def __str__(self) -> str:
        return self.words if self.share is None else f"{_percent(self.share)} · {self.words}"


@contextmanager
def live_line(
    standing: Callable[[], Standing], stream: TextIO, *, log_interval_s: float = _LOG_INTERVAL_S
) -> Iterator[None]:
    """Shows `standing()` while the block lasts: live where `stream` is a terminal, as log lines elsewhere.

    Args:
        standing: where the job stands now; called in a thread of its own.
        stream: where a terminal may be.
        log_interval_s: seconds between log lines; the first comes after as many.
    """
    console = Console(file=stream)
    if stream.isatty() and not console.is_dumb_terminal:
        with Live(
            get_renderable=lambda: _bar(standing(), console.width), console=console, refresh_per_second=2
        ):
            yield
        return
    over = threading.Event()
    arguments = (over, standing, log_interval_s)
    thread = threading.Thread(target=_log_until, args=arguments, daemon=True, name="progress")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _bar(standing: Standing, columns: int) -> RenderableType:
    """Bar, share and words; the bar gives way to the words, so that they stay in one line where they fit."""
    share = standing.share
    percent = "" if share is None else _percent(share)
    left = columns - len(percent) - len(standing.words) - 2 * len(" ")
    width = min(max(left, _SHORTEST_BAR), _LONGEST_BAR)
    row = Table.grid(padding=(0, 1))
    row.add_row(
        ProgressBar(
            total=1.0,
            completed=share or 0.0,
            width=width,
            pulse=share is None,
        ),
        Text(percent),
        Text(standing.words),
    )
    return row


def _percent(share: float) -> str:
    # Rounded down: 100% is what is finished.
    return f"{int(100 * share)}%"


def _log_until(over: threading.Event, standing: Callable[[], Standing], interval_s: float) -> None:
    while not over.wait(interval_s):
        logger.info("%s", standing())
