"""The page of all commands, from their parsers, and which settings each of them takes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from unittest.mock import patch

from pipeline.settings.base import Settings
from posrefine.command.main import parser as posrefine_parser

__all__ = ["Command", "commands", "commands_page"]

JOBS = Path(__file__).resolve().parents[2] / "jobs"
_HEAD = """# Commands

What every command says of itself with `--help`. The jobs run from a checkout, `python jobs/annotate.py run
…`; `posrefine` comes with the wheel. What the settings mean together, and where else they can be given, is
on the page of [settings](settings.md); what an exit code means on that of [errors](errors.md).
"""


@dataclass(frozen=True)
class Command:
    """A command, or one of its subcommands.

    Attributes:
        name: as it is called, such as `annotate.py run`.
        parser: of its command line.
        kind: settings that it takes; None where it has a command line and no more.
    """

    name: str
    parser: argparse.ArgumentParser
    kind: type[Settings] | None

    @property
    def is_whole(self) -> bool:
        """Whether it does something by itself, and is no heading for subcommands."""
        return not _subparsers(self.parser)


def commands() -> Iterator[Command]:
    """Of all jobs, in the order of their names, and of `posrefine`; each before its subcommands."""
    yield from _with_subcommands("posrefine", posrefine_parser())
    for path in sorted(JOBS.glob("*.py")):
        module = import_module(f"jobs.{path.stem}")
        if hasattr(module, "parser"):
            yield from _with_subcommands(path.name, module.parser())


def commands_page() -> str:
    """Markdown: a heading for each command, and its help."""
    parts = [_HEAD]
    for command in commands():
        sub = " " in command.name
        parts.append(f"{'###' if sub else '##'} {command.name}\n")
        parts.append(f"````text\n{help_of(command.parser)}\n````\n")
    return "\n".join(parts)


def help_of(parser: argparse.ArgumentParser) -> str:
    """As a terminal of 100 characters shows it, without colours."""
    with patch.dict(os.environ, {"COLUMNS": "100", "NO_COLOR": "1"}):
        return parser.format_help().rstrip()


def _with_subcommands(name: str, parser: argparse.ArgumentParser) -> Iterator[Command]:
    yield Command(name, parser, parser.get_default("settings"))
    for sub, of_sub in _subparsers(parser).items():
        yield from _with_subcommands(f"{name} {sub}", of_sub)


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    actions = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return {name: sub for action in actions for name, sub in action.choices.items()}
