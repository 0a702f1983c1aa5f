"""The line that tells where a job stands."""

from __future__ import annotations

import io
import logging
import threading

import pytest

from pipeline.live_line import Standing, live_line


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_bar_share_and_words_as_they_are_at_the_end():
    stream, done = Terminal(), [1]
    with live_line(lambda: Standing(f"{done[-1]} of 3", done[-1] / 3), stream):
        done.append(2)
    last = next(line for line in stream.getvalue().splitlines() if "66% 2 of 3" in line)
    assert last.count("━") + last.count("╺") == 24


@pytest.mark.parametrize(("columns", "bar"), [(80, 8), (90, 18), (200, 24)])
def test_the_bar_gives_way_to_words_that_then_fit_into_one_line(
    columns: int, bar: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", str(columns))
    words = "7 of 10 units · 896 images · 4.9 images/s · 0:00:26 left · 7 failed"
    stream = Terminal()
    with live_line(lambda: Standing(words, 0.7), stream):
        pass
    last = next(line for line in stream.getvalue().splitlines() if f"70% {words}" in line)
    assert last.count("━") + last.count("╸") + last.count("╺") == bar


def test_a_terminal_that_can_move_no_cursor_gets_log_lines(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setenv("TERM", "dumb")
    stream, asked = Terminal(), threading.Event()

    def line() -> Standing:
        asked.set()
        return Standing("a line")

    with caplog.at_level(logging.INFO, logger="pipeline"), live_line(line, stream, log_interval_s=0.001):
        assert asked.wait(60)
    assert "a line" in {record.getMessage() for record in caplog.records}
    assert stream.getvalue() == ""


def test_only_what_is_finished_is_a_hundred_percent_and_what_is_unknown_has_none():
    assert str(Standing("999 of 1,000", 0.999)) == "99% · 999 of 1,000"
    assert str(Standing("all", 1.0)) == "100% · all"
    assert str(Standing("nothing known yet")) == "nothing known yet"


def test_a_log_gets_the_line_again_and_again_and_none_once_the_block_is_over(caplog):
    asked, twice = [], threading.Event()

    def line() -> Standing:
        asked.append(None)
        if len(asked) == 2:
            twice.set()
        return Standing(f"line {len(asked)}")

    stream = io.StringIO()
    with caplog.at_level(logging.INFO, logger="pipeline"), live_line(line, stream, log_interval_s=0.001):
        assert twice.wait(60)
    assert [record.getMessage() for record in caplog.records[:2]] == ["line 1", "line 2"]
    assert len(caplog.records) == len(asked)
    assert stream.getvalue() == ""
