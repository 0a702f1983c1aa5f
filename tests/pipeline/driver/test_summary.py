"""The end of a job's output: a table in a terminal, the same as lines elsewhere."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime

import pytest

from pipeline.driver.summary import show_outcome
from pipeline.exit_codes import ExitCode
from pipeline.output.outcome import Outcome

AT = datetime(2026, 11, 29, tzinfo=UTC)
OUTCOME = Outcome(
    exit_code=ExitCode.OVER_ERROR_BUDGET, result="complete, but over the error budget",
    message="3 of 10 images failed, over the budget of 1.00%", complete=True,
    images={"ok": 7, "corrupt": 2, "missing": 1}, min_score=0.3, persons=20, persons_below=80,
    units_done=2, units_total=2, seconds=10.0, startup_s=2.0, images_per_s=1.0, bare_images_per_s=2.0,
    efficiency=0.6, stage_seconds={"load": 1.0, "infer": 5.0, "predictor": 4.0, "commit": 0.5},
    prepare_seconds={"cpu, float32": 0.5}, started_at=AT, finished_at=AT, note=None,
)  # fmt: skip
ESCAPE = re.compile(r"\x1b\[([\d;]*)m")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO) -> str:
    show_outcome(OUTCOME, stream)
    return stream.getvalue()


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "140")


def test_a_terminal_gets_a_table_with_all_that_a_log_gets_as_lines():
    table, log = shown(Terminal()), shown(io.StringIO())
    assert log.splitlines() == list(OUTCOME.lines())
    assert "images    7 ok, 2 corrupt, 1 missing" in log
    plain = ESCAPE.sub("", table)
    assert plain.startswith("╭")
    for _, parts in OUTCOME.facts():
        for part in parts:
            assert part in plain
    # Failures by kind have a line each.
    assert re.search(r"│ +7 ok +│\n│ +│ 2 corrupt +│\n│ +│ 1 missing +│", plain)


def colours(text: str) -> set[str]:
    """The codes that set a colour; weights are none."""
    codes = {code for group in ESCAPE.findall(text) for code in group.split(";")}
    return codes & {str(number) for number in range(30, 38)}


def test_colours_are_left_out_where_they_should_be(monkeypatch: pytest.MonkeyPatch):
    assert "33" in colours(shown(Terminal()))
    assert not ESCAPE.search(shown(io.StringIO()))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colours(shown(Terminal()))
    monkeypatch.setenv("TERM", "dumb")
    assert shown(Terminal()).splitlines() == list(OUTCOME.lines())
