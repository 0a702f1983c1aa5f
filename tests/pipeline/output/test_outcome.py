"""How a run ended, and what a kill would leave while failed images are tried again."""

from __future__ import annotations

from datetime import UTC, datetime

from pipeline.exit_codes import ExitCode
from pipeline.output.counts import TableCounts
from pipeline.output.outcome import Outcome
from posrefine.errors import ImageStatus

TABLES = TableCounts(
    generation=1, images_version=0, persons_version=0, left_out=0,
    manifest_digest="00", units=2, images=10, ok=8, failed={ImageStatus.CORRUPT: 2}, min_score=0.3,
    persons=12, persons_below=30,
    broken_shards=0,
    skipped={".json": 3}, groups=(), note="a note",
)  # fmt: skip
BEGUN = datetime(2026, 1, 1, tzinfo=UTC)


def test_tables_that_are_being_brought_up_to_date_are_told_like_those_that_are():
    under_way = Outcome.under_way(TABLES, started_at=BEGUN)
    completed = Outcome.completed(TABLES, None, max_error_rate=0.5, started_at=BEGUN)
    told = (
        "images",
        "min_score",
        "persons",
        "persons_below",
        "skipped",
        "units_done",
        "units_total",
        "note",
        "started_at",
    )
    assert [getattr(under_way, name) for name in told] == [getattr(completed, name) for name in told]
    assert under_way.skipped == {".json": 3}
    assert (under_way.complete, under_way.exit_code) == (False, ExitCode.INTERRUPTED)
    assert (completed.complete, completed.exit_code) == (True, ExitCode.COMPLETE)


def test_persons_below_the_least_score_are_said_beside_those_that_count():
    lines = list(Outcome.completed(TABLES, None, max_error_rate=0.5, started_at=BEGUN).lines())
    assert "persons   12 from score 0.3 on; 30 more below it, in the tables alone" in lines
