"""The one way in which every job reads its command line, runs, says an error and ends.

A job's script makes its parser with `job_parser` and `add_command`, hands it to `run_job`, and ends its
process with `leave`. What a command works with is imported by its handler: `--help` needs no Torch, no Ray.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, NoReturn, TypeVar

from jobs.log_lines import error_line, logging_to_stderr
from pipeline.exit_codes import ExitCode, exit_code_of
from pipeline.settings.base import Settings
from pipeline.settings.command_line import add_settings, settings_given
from pipeline.settings.environment import find_settings
from pipeline.settings.log import LogSettings
from pipeline.settings.sources import load_settings, refuse_credentials, settings_from
from posrefine.command.arguments import Parser, Version
from posrefine.errors import PosRefineError
from posrefine.redaction import redacted

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["SETTINGS_NOTE", "add_command", "add_common_options", "job_parser", "leave", "run_job", "take"]

SETTINGS_NOTE = (
    "Settings come from the command line, the environment (--unit-images is POSREFINE_UNIT_IMAGES) or the "
    "YAML file named by --config (unit_images:), in this order of precedence."
)

Kind = TypeVar("Kind", bound=Settings)

# Also for what goes wrong before a job's settings are read, and after it has ended.
_LOG_FORMAT: ContextVar[str] = ContextVar("_LOG_FORMAT", default="text")


class _Parser(Parser):
    """Says what is wrong with a command line in the form that was asked for."""

    def error(self, message: str) -> NoReturn:
        if _LOG_FORMAT.get() == "json":
            _say("usage", ExitCode.BAD_CONFIGURATION, f"{self.prog}: {message}")
            self.exit(ExitCode.BAD_CONFIGURATION)
        super().error(message)


def job_parser(prog: str, description: str) -> argparse.ArgumentParser:
    """A parser for a job, with the options that all jobs have."""
    parser = _Parser(
        prog=prog,
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_common_options(parser)
    return parser


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Add `--version`, `-v` and `--log-format`, to a job's parser or to one of a subcommand."""
    common = parser.add_argument_group("Log")
    # Without defaults, so that an option stands before or behind the name of a subcommand.
    add, absent = common.add_argument, argparse.SUPPRESS
    add("-v", "--verbose", action="store_true", default=absent, help="say more of what happens")
    add(
        "--log-format",
        choices=("text", "json"),
        default=absent,
        help="of log lines and errors (default: text)",
    )
    add("--version", action=Version)


def add_command(
    commands: Commands, name: str, kind: type[Kind], handler: Callable[[Kind], int], description: str
) -> argparse.ArgumentParser:
    """Add a subcommand that is told its settings and returns its exit code; its parser."""
    first = description.partition(". ")[0].rstrip(".")
    added = commands.add_parser(
        name, help=first[0].lower() + first[1:], description=description, allow_abbrev=False
    )
    take(added, kind, handler)
    add_common_options(added)
    return added


def take(parser: argparse.ArgumentParser, kind: type[Kind], handler: Callable[[Kind], int]) -> None:
    """Let a parser take settings, and `run_job` run `handler` with them; its `settings` is their kind."""
    add_settings(parser, kind)
    parser.set_defaults(
        settings=kind, handler=lambda given: handler(load_settings(kind, settings_given(given, kind)))
    )


def run_job(
    parser: argparse.ArgumentParser, arguments: Sequence[str] | None, *, when_interrupted: str = "run again"
) -> int:
    """Run what a command line asks for and return the exit code; unexpected errors are raised.

    Errors of the project are said on standard error, by name and with the exit code. SIGTERM and Ctrl-C end
    with code 75.

    Args:
        parser: of the job; it sets `handler`, which is called with the parsed arguments.
        arguments: of the command line; None: of this process.
        when_interrupted: what to do after an interruption.
    """
    _LOG_FORMAT.set(_format_asked_for(sys.argv[1:] if arguments is None else arguments))
    given = parser.parse_args(arguments)
    try:
        log = _log_settings(given)
        _LOG_FORMAT.set(log.log_format)
        with logging_to_stderr(log.log_format, verbose=log.verbose), _termination_as_interrupt():
            refuse_credentials(vars(given))
            return int(given.handler(given))
    except PosRefineError as error:
        code = exit_code_of(error)
        _say(type(error).__name__, code, str(error))
        return code
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
        _say("interrupted", code, when_interrupted)
        return code


def _format_asked_for(arguments: Iterable[str]) -> str:
    """Of errors before the command line could be read as a whole: as it seems to be meant."""
    asked = find_settings(LogSettings, os.environ).get("log_format", "text")
    words = iter(arguments)
    for word in words:
        if word == "--":
            # What is behind it are another command's options.
            break
        name, equals, value = word.partition("=")
        if name == "--log-format":
            asked = value if equals else next(words, "")
    return asked


def _log_settings(given: argparse.Namespace) -> LogSettings:
    values = {**find_settings(LogSettings, os.environ), **settings_given(given, LogSettings)}
    # The file of settings is the job's.
    values.pop("config", None)
    return settings_from(LogSettings, values)


@contextlib.contextmanager
def _termination_as_interrupt() -> Iterator[None]:
    """SIGTERM raises `KeyboardInterrupt` in the block, as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _say(name: str, code: ExitCode, message: str) -> None:
    """The last line of a job that did not do what it was asked, on standard error."""
    if _LOG_FORMAT.get() == "json":
        line = error_line(name, int(code), message)
    else:
        line = redacted(f"{name} (exit code {code}): {message}")
    print(line, file=sys.stderr)


def leave(main: Callable[[], int]) -> NoReturn:
    """Run a job and end the process with its code.

    Without the interpreter's shutdown, in which threads of pyarrow can abort it. Errors that nobody foresaw
    are shown with their traceback, in JSON as a field of their one line, and end with code 1.
    """
    try:
        code = main()
    except SystemExit as error:
        # argparse ends with 0 or 2.
        code = error.code if isinstance(error.code, int) else ExitCode.CRASH
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has gone; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = ExitCode.CRASH
    except BaseException as error:  # noqa: BLE001 - the end of the process
        code, lines = ExitCode.CRASH, traceback.format_exc()
        if _LOG_FORMAT.get() == "json":
            print(error_line(type(error).__name__, int(code), str(error), lines), file=sys.stderr)
        else:
            print(redacted(lines), end="", file=sys.stderr)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
