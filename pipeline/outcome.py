"""How a run ended: its exit code, and the same in words for `outcome.json`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.finalize import TableCounts
from pipeline.layout import OutputTree
from pipeline.storage import Storage
from pipeline.telemetry import RunTally
from posrefine.errors import ConfigurationError, FingerprintMismatch, ImageStatus, ObjectMissing, OutputLocked

__all__ = ["ExitCode", "Outcome", "exit_code_of", "read_outcome"]


class ExitCode(IntEnum):
    """The process's exit code."""

    COMPLETE = 0
    CRASH = 1
    BAD_CONFIGURATION = 2
    OVER_ERROR_BUDGET = 3
    DIFFERENT_RUN = 4
    LOCKED = 5
    INTERRUPTED = 75


class Outcome(BaseModel):
    """What `outcome.json` says.

    Attributes:
        exit_code: of the process; a Ray job flattens it to 0 or 1, so it is here too.
        result: the code in words.
        message: what happened, and what to do about it.
        complete: whether the tables are there. If so, images and persons are of the whole output, else of the
            units that this attempt committed.
        images: images by status.
        persons: persons in all images.
        units_done: units committed by this and earlier attempts; None where that was not reached.
        units_total: units of the manifest; None where it was not reached.
        seconds: of this attempt's work on units; None where it had none, and so the speeds.
        startup_s: the part of them before the first unit was begun.
        images_per_s: of this attempt, start-up included.
        bare_images_per_s: of one actor's bare predictor in this attempt.
        efficiency: images/s after start-up over what all actors' bare predictors reach.
        stage_seconds: of all workers in this attempt, by stage; `predictor` is a part of `infer`.
        prepare_seconds: how this attempt's actors made the network ready (device, precision, kernels), and
            the seconds of the slowest of them, compiling included.
        started_at: of this attempt.
        finished_at: of this attempt.
        note: what must be known about the network's poses, such as that they mean nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    exit_code: ExitCode
    result: str
    message: str
    complete: bool
    images: dict[str, int]
    persons: int
    units_done: int | None
    units_total: int | None
    seconds: float | None
    startup_s: float | None
    images_per_s: float | None
    bare_images_per_s: float | None
    efficiency: float | None
    stage_seconds: dict[str, float] | None
    prepare_seconds: dict[str, float] | None
    started_at: datetime
    finished_at: datetime
    note: str | None

    @staticmethod
    def completed(
        tables: TableCounts, tally: RunTally | None, *, max_error_rate: float, started_at: datetime
    ) -> Outcome:
        """Of a run with finished tables."""
        over_budget = tables.error_rate > max_error_rate
        over = over_budget or tables.broken_shards > 0
        message = f"{tables.images - tables.ok:,} of {tables.images:,} images failed"
        if over_budget:
            message += f", over the budget of {max_error_rate:.2%}"
        if tables.broken_shards:
            message += (
                f"; {tables.broken_shards:,} shards could not be read to their end, whatever the budget"
            )
        if over:
            message += "; see `status` and `error` in tables/images"
        return Outcome(
            exit_code=ExitCode.OVER_ERROR_BUDGET if over else ExitCode.COMPLETE,
            result="complete, but over the error budget" if over else "complete",
            message=message,
            complete=True,
            images=tables.by_status,
            persons=tables.persons,
            units_done=tables.units,
            units_total=tables.units,
            started_at=started_at,
            finished_at=datetime.now(UTC),
            note=tables.note,
            **_speeds(tally),
        )

    @staticmethod
    def broken_off(
        error: BaseException, tally: RunTally | None, *, started_at: datetime, note: str | None
    ) -> Outcome:
        """Of a run that ended with an exception."""
        code = exit_code_of(error)
        interrupted = code is ExitCode.INTERRUPTED
        return Outcome(
            exit_code=code,
            result=code.name.lower().replace("_", " "),
            message="stopped by a signal; finished units are kept, run again to go on"
            if interrupted
            else f"{type(error).__name__}: {error}",
            complete=False,
            images={} if tally is None else {status.value: count for status, count in tally.images.items()},
            persons=0 if tally is None else tally.persons,
            units_done=None if tally is None else tally.units_done,
            units_total=None if tally is None else tally.units_total,
            started_at=started_at,
            finished_at=datetime.now(UTC),
            note=note,
            **_speeds(tally),
        )

    def lines(self) -> Iterator[str]:
        """The outcome for people."""
        if self.note is not None:
            yield f"note      {self.note}"
        yield f"outcome   {self.result} (exit code {self.exit_code}): {self.message}"
        failed = {status: count for status, count in self.images.items() if status != ImageStatus.OK}
        kinds = "".join(f", {count:,} {status}" for status, count in failed.items())
        yield f"images    {self.images.get(ImageStatus.OK, 0):,} ok{kinds}"
        yield f"persons   {self.persons:,}"
        if self.images_per_s is not None:
            over = f"{self.seconds:,.0f} s, {self.startup_s:,.0f} s of it start-up"
            yield f"speed     {self.images_per_s:,.1f} images/s over {over}"
        if self.efficiency is not None:
            yield (
                f"          {self.efficiency:.0%} of what the bare predictors reach "
                f"({self.bare_images_per_s:,.1f} images/s each)"
            )
        if self.stage_seconds is not None:
            spent = {stage: f"{seconds:,.1f} s" for stage, seconds in self.stage_seconds.items()}
            yield (
                f"time      of all workers: loading {spent['load']}, inference {spent['infer']} "
                f"(predictor {spent['predictor']}), committing {spent['commit']}"
            )
        for form, seconds in (self.prepare_seconds or {}).items():
            yield f"network   {form}; ready in {seconds:.1f} s"

    def encode(self) -> bytes:
        """As JSON."""
        return self.model_dump_json(indent=2).encode()


def read_outcome(storage: Storage, tree: OutputTree) -> Outcome | None:
    """How the last attempt at `tree` ended; None where none has ended yet, or this version cannot read it."""
    try:
        return Outcome.model_validate_json(storage.read_bytes(tree.outcome))
    except (ObjectMissing, ValidationError):
        return None


def exit_code_of(error: BaseException) -> ExitCode:
    """The exit code that an exception ends a run with."""
    if isinstance(error, FingerprintMismatch):
        return ExitCode.DIFFERENT_RUN
    if isinstance(error, OutputLocked):
        return ExitCode.LOCKED
    if isinstance(error, ConfigurationError):
        return ExitCode.BAD_CONFIGURATION
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return ExitCode.INTERRUPTED
    return ExitCode.CRASH


_SPEEDS = (
    "seconds",
    "startup_s",
    "images_per_s",
    "bare_images_per_s",
    "efficiency",
    "stage_seconds",
    "prepare_seconds",
)


def _speeds(tally: RunTally | None) -> dict[str, Any]:
    if tally is None:
        return dict.fromkeys(_SPEEDS)
    return {
        "seconds": tally.elapsed_s,
        "startup_s": tally.startup_s,
        "images_per_s": tally.images_per_s,
        "bare_images_per_s": tally.bare_images_per_s,
        "efficiency": tally.efficiency,
        "stage_seconds": tally.stage_seconds,
        "prepare_seconds": tally.prepare_seconds,
    }
