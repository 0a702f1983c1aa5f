"""Where a run stands, in lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from pipeline.inputs.cutting import listed_skipped
from pipeline.output.lease import Lease
from pipeline.output.status import RunStatus
from posrefine.errors import ImageStatus

__all__ = ["status_lines"]

_NAMES_SHOWN = 3
_GENERATIONS_SHOWN = 10


def status_lines(status: RunStatus, now: datetime) -> Iterator[str]:
    """The status for people; times since are counted to `now`."""
    if status.record.note is not None:
        yield f"note      {status.record.note}"
    run = status.record
    begun = run.created_at.astimezone(UTC)
    yield f"run       {run.fingerprint.model}, {run.weights}, begun {begun:%F %T} UTC"
    pending = run.units - status.units_done - len(status.damaged)
    yield f"units     {status.units_done:,} of {run.units:,} done, {pending:,} pending"
    if status.damaged:
        yield f"damaged   {_some(status.damaged)}: cut, or of another run; delete and run again"
    if status.strangers:
        yield f"strangers {_some(status.strangers)}: in units/, but no unit's; nothing reads them"
    failed = {kind: count for kind, count in status.images.items() if kind is not ImageStatus.OK}
    kinds = ", ".join(f"{count:,} {kind.value}" for kind, count in sorted(failed.items()))
    yield f"images    {status.images.get(ImageStatus.OK, 0):,} ok, {sum(failed.values()):,} failed"
    if status.skipped:
        yield f"skipped   {listed_skipped(status.skipped)}"
    if failed:
        yield f"failed    {kinds}"
    yield f"persons   {status.people.words(run.min_score)}"
    if status.reviewed:
        yield f"reviewed  {status.reviewed:,} images are as people corrected them"
    if status.last_commit_at is not None:
        over = "of the last attempt" if status.ended is not None else "since the first commit"
        speed = status.images_per_s
        known = "not known" if speed is None else f"{speed:,.1f} images/s {over}"
        yield f"speed     {known}; last commit {status.last_commit_at.astimezone(UTC):%F %T} UTC"
    if status.remaining_s:
        yield f"left      about {timedelta(seconds=round(status.remaining_s))} of work at this speed"
    if len(status.generations) > 1:
        left_out = len(status.generations) - _GENERATIONS_SHOWN
        more = f"; the last {_GENERATIONS_SHOWN} of them, --json has all" if left_out > 0 else ""
        yield f"generations {len(status.generations):,}{more}"
        for one in status.generations[-_GENERATIONS_SHOWN:]:
            yield from one.lines()
    yield f"lock      {_lock_line(status.lease, now)}"
    yield f"outcome   {_outcome_line(status)}"


def _lock_line(lease: Lease | None, now: datetime) -> str:
    if lease is None:
        return "free"
    holder = f"process {lease.pid} on {lease.host}"
    beat = f"last heartbeat {(now - lease.renewed_at).total_seconds():.0f} s ago"
    if lease.seems_live(now):
        return f"live: {holder}, {beat}"
    end = "is gone" if lease.holder_is_gone() else f"is silent for over {lease.expiry_s:.0f} s"
    return f"abandoned: {holder} {end}, {beat}; run again to go on"


def _outcome_line(status: RunStatus) -> str:
    if status.outcome is None:
        return "none yet" if status.lease is None else "none yet of this attempt"
    # A run gives its lease back after it wrote its outcome.
    which = "" if status.lease is None else "of an earlier attempt: "
    return f"{which}{status.outcome.result} (exit code {status.outcome.exit_code}): {status.outcome.message}"


def _some(names: tuple[str, ...]) -> str:
    """How many names, and the first few."""
    more = f" and {len(names) - _NAMES_SHOWN:,} more" if len(names) > _NAMES_SHOWN else ""
    return f"{len(names):,} files, {', '.join(names[:_NAMES_SHOWN])}{more}"
