"""How a run ended: its exit code, and the same in words for `outcome.json`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.exit_codes import ExitCode, exit_code_of
from pipeline.inputs.cutting import listed_skipped
from pipeline.output.counts import TableCounts
from pipeline.output.drift import Moved, drift_of
from pipeline.output.person_count import PersonCount
from pipeline.output.tally import RunTally
from posrefine.errors import ImageStatus
from posrefine.redaction import redacted

__all__ = ["Outcome", "is_over_budget"]


def is_over_budget(images: int, failed: int, max_error_rate: float) -> bool:
    """Whether more of so many images failed than may."""
    return images > 0 and failed / images > max_error_rate


class Outcome(BaseModel):
    """What `outcome.json` says.

    Attributes:
        exit_code: of the process; a Ray job flattens it to 0 or 1, so it is here too.
        result: the code in words.
        message: what happened, and what to do about it.
        complete: whether the tables are there and up to date.
        images: images by status: of the tables where there are any, else of the units that this attempt
            committed.
        min_score: from which persons are counted; None where that was not reached.
        persons: persons of at least this score in these images.
        persons_below: the others, which the tables hold as well.
        skipped: objects below the input that are none, by suffix; empty where there are no tables.
        drift: what of the generation that this attempt added is unlike those before, by more than chance.
        units_done: units committed by this and earlier attempts; None where that was not reached.
        units_total: units of the manifest; None where it was not reached.
        seconds: of this attempt's work on units; None where it had none, and so the speeds.
        startup_s: the part of them before the first unit was begun.
        images_per_s: of this attempt, start-up included.
        bare_images_per_s: of bare predictors on all processors of the cluster, by this attempt's times.
        efficiency: images/s after start-up over these.
        stage_seconds: of all workers in this attempt, by stage; `predictor` is a part of `infer`.
        prepare_seconds: how this attempt's actors made the network ready (device, precision, kernels), and
            the seconds of the slowest of them, compiling included.
        started_at: of this attempt.
        finished_at: of this attempt.
        note: what must be known about the network's poses, such as that they mean nothing.
        lease_generation: of the lease under which it was written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    exit_code: ExitCode
    result: str
    message: str
    complete: bool
    images: dict[str, int]
    min_score: float | None
    persons: int
    persons_below: int
    skipped: dict[str, int] = {}
    drift: tuple[Moved, ...] = ()
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
    lease_generation: int | None = None

    @staticmethod
    def completed(
        tables: TableCounts, tally: RunTally | None, *, max_error_rate: float, started_at: datetime
    ) -> Outcome:
        """The outcome of a run with finished tables."""
        judged = tables.images, tables.images - tables.ok, tables.broken_shards
        return Outcome._judged(tables, tally, started_at, judged, max_error_rate, "")

    @staticmethod
    def synced(
        tables: TableCounts,
        tally: RunTally | None,
        changes: str,
        *,
        generation: int | None,
        max_error_rate: float,
        started_at: datetime,
    ) -> Outcome:
        """Of tables that are as the input is.

        Args:
            tables: their counts.
            tally: of the attempt.
            changes: what became of the input, in words.
            generation: that was added; None where nothing had to be done. Images of the last generation alone
                are judged, so that a sync without anything new ends as the one before.
            max_error_rate: share of its failed images above which the exit code is 3.
            started_at: of the attempt.
        """
        judged = tables.of_generation(tables.generation if generation is None else generation)
        outcome = Outcome._judged(tables, tally, started_at, judged, max_error_rate, f"{changes}; ")
        drift = None if generation is None else drift_of(tables).get(generation)
        return outcome if drift is None else outcome.model_copy(update={"drift": drift.moved})

    @staticmethod
    def of_both(first: Outcome, second: Outcome | None = None) -> Outcome:
        """Of two generations that one sync published: the later one, with both words and the worse code."""
        if second is None:
            return first
        worse = max((first, second), key=lambda outcome: outcome.exit_code)
        message = f"{first.message}; {second.message}"
        return second.model_copy(
            update={"exit_code": worse.exit_code, "result": worse.result, "message": message}
        )

    @staticmethod
    def _judged(
        tables: TableCounts,
        tally: RunTally | None,
        started_at: datetime,
        judged: tuple[int, int, int],
        max_error_rate: float,
        words: str,
    ) -> Outcome:
        images, failed, broken_shards = judged
        over_budget = is_over_budget(images, failed, max_error_rate)
        over = over_budget or broken_shards > 0
        message = f"{words}{failed:,} of {images:,} images failed"
        if over_budget:
            message += f", over the budget of {max_error_rate:.2%}"
        if broken_shards:
            message += f"; {broken_shards:,} shards could not be read to their end, whatever the budget"
        if over:
            message += "; see `status` and `error` in tables/images"
        return Outcome._of_tables(
            tables,
            tally,
            started_at,
            code=ExitCode.OVER_ERROR_BUDGET if over else ExitCode.COMPLETE,
            result="complete, but over the error budget" if over else "complete",
            message=message,
            complete=True,
        )

    @staticmethod
    def under_way(tables: TableCounts, *, started_at: datetime) -> Outcome:
        """Of finished tables whose failed images are being tried again: what a kill would leave."""
        return Outcome._of_tables(
            tables,
            None,
            started_at,
            code=ExitCode.INTERRUPTED,
            result="failed images are tried again",
            message="the tables are being brought up to date; if no process is at work, run again",
            complete=False,
        )

    @staticmethod
    def _of_tables(
        tables: TableCounts,
        tally: RunTally | None,
        started_at: datetime,
        *,
        code: ExitCode,
        result: str,
        message: str,
        complete: bool,
    ) -> Outcome:
        return Outcome(
            exit_code=code,
            result=result,
            message=message,
            complete=complete,
            images=tables.by_status,
            min_score=tables.min_score,
            persons=tables.persons,
            persons_below=tables.persons_below,
            skipped=tables.skipped,
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
            else redacted(f"{type(error).__name__}: {error}"),
            complete=False,
            images={} if tally is None else {status.value: count for status, count in tally.images.items()},
            min_score=None if tally is None else tally.min_score,
            persons=0 if tally is None else tally.people.counted,
            persons_below=0 if tally is None else tally.people.below,
            skipped={},
            units_done=None if tally is None else tally.units_done,
            units_total=None if tally is None else tally.units_total,
            started_at=started_at,
            finished_at=datetime.now(UTC),
            note=note,
            **_speeds(tally),
        )

    def lines(self) -> Iterator[str]:
        """The outcome for people, and for logs."""
        for name, parts in self.facts():
            yield f"{name:<10}{', '.join(parts)}"

    def facts(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The outcome in words: what about, and what is known of it in one or more parts."""
        if self.note is not None:
            yield "note", (self.note,)
        yield "outcome", (f"{self.result} (exit code {self.exit_code}): {self.message}",)
        failed = {status: count for status, count in self.images.items() if status != ImageStatus.OK}
        kinds = (f"{count:,} {status}" for status, count in failed.items())
        yield "images", (f"{self.images.get(ImageStatus.OK, 0):,} ok", *kinds)
        if self.skipped:
            yield "skipped", (listed_skipped(self.skipped),)
        if self.min_score is not None:
            yield "persons", (PersonCount(self.persons, self.persons_below).words(self.min_score),)
        for moved in self.drift:
            yield "drift", (moved.words(),)
        if self.images_per_s is not None:
            over = f"{self.seconds:,.0f} s, {self.startup_s:,.0f} s of it start-up"
            yield "speed", (f"{self.images_per_s:,.1f} images/s over {over}",)
        if self.efficiency is not None:
            reached = f"{self.bare_images_per_s:,.1f} images/s"
            yield "", (f"{self.efficiency:.0%} of what bare predictors reach on all processors ({reached})",)
        if self.stage_seconds is not None:
            spent = {stage: f"{seconds:,.1f} s" for stage, seconds in self.stage_seconds.items()}
            inference = f"inference {spent['infer']} (predictor {spent['predictor']})"
            of_all = f"of all workers: loading {spent['load']}"
            yield "time", (of_all, inference, f"committing {spent['commit']}")
        for form, seconds in (self.prepare_seconds or {}).items():
            yield "network", (f"{form}; ready in {seconds:.1f} s",)

    def encode(self) -> bytes:
        """As JSON."""
        return self.model_dump_json(indent=2).encode()


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
