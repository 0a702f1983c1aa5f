"""The progress line of a run: share, units, images, speed, time left and failures."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import TextIO

from pipeline.live_line import Standing, live_line
from pipeline.output.tally import RunTally
from posrefine.errors import ImageStatus

__all__ = ["progress_line", "show_progress"]


def progress_line(tally: RunTally) -> Standing:
    """Share, units, images, speed, time left and failures by kind in one line."""
    parts = [
        f"{tally.units_done:,} of {tally.units_total:,} units",
        f"{tally.images_done:,} images",
        f"{tally.images_per_s_now:,.1f} images/s",
    ]
    if tally.remaining_s is not None:
        parts.append(f"{timedelta(seconds=round(tally.remaining_s))} left")
    failed = [f"{n:,} {status}" for status, n in tally.images.items() if n and status is not ImageStatus.OK]
    parts.append(f"{tally.images_failed:,} failed" + (f" ({', '.join(failed)})" if failed else ""))
    share = tally.units_done / tally.units_total if tally.units_total else None
    return Standing(" · ".join(parts), share)


def show_progress(
    tally: Callable[[], RunTally], stream: TextIO | None = None
) -> AbstractContextManager[None]:
    """Shows `tally()` while the block lasts: live where `stream`, by default standard error, is a
    terminal, as log lines elsewhere."""
    return live_line(lambda: progress_line(tally()), stream or sys.stderr)
