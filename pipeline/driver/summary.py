"""How a run ended, at the end of its output: a table in a terminal, lines elsewhere."""

from __future__ import annotations

import sys
from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.exit_codes import ExitCode
from pipeline.output.outcome import Outcome

__all__ = ["outcome_table", "show_outcome"]


def show_outcome(outcome: Outcome, stream: TextIO | None = None) -> None:
    """Says the same in both forms, to `stream`, by default standard output.

    Colours are left out where NO_COLOR is set or the terminal has none.
    """
    stream = sys.stdout if stream is None else stream
    console = Console(file=stream)
    if not stream.isatty() or console.is_dumb_terminal:
        print("\n".join(outcome.lines()), file=stream)
        return
    console.print(outcome_table(outcome))


def outcome_table(outcome: Outcome) -> Table:
    """As a terminal shows it."""
    table = Table(box=box.ROUNDED, show_header=False, pad_edge=True)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, parts in outcome.facts():
        table.add_row(
            name, Text("\n").join(_part(name, place, part, outcome) for place, part in enumerate(parts))
        )
    return table


def _part(name: str, place: int, part: str, outcome: Outcome) -> Text:
    style = ""
    if name == "outcome":
        style = {ExitCode.COMPLETE: "green", ExitCode.OVER_ERROR_BUDGET: "yellow"}.get(
            outcome.exit_code, "red"
        )
    elif name in ("note", "drift") or (name == "images" and place > 0):
        style = "yellow"
    return Text(part, style=style)
