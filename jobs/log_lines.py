"""Log lines of the jobs: a time in front of each, or one JSON object a line; secrets of addresses never."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from posrefine.redaction import redacted, redacted_values

__all__ = ["error_line", "logging_to_stderr"]


@contextmanager
def logging_to_stderr(log_format: str, *, verbose: bool) -> Iterator[None]:
    """Logs to standard error while the block lasts.

    Args:
        log_format: `text` or `json`.
        verbose: the project's debug lines and the libraries' information, too.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if log_format == "json" else _TextLines())
    root = logging.getLogger()
    # Whoever made all of Python say more before means it.
    levels = {root: min(root.level, logging.INFO if verbose else logging.WARNING)}
    for package in ("posrefine", "pipeline", "jobs"):
        levels[logging.getLogger(package)] = logging.DEBUG if verbose else logging.INFO
    before = {logger: logger.level for logger in levels}
    for logger, level in levels.items():
        logger.setLevel(level)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        for logger, level in before.items():
            logger.setLevel(level)


def _time_of(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


class _TextLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        return f"{_time_of(record)} {level}{redacted(_message_of(self, record))}"


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        known = {"level": record.levelname.lower(), "logger": record.name}
        return _json_line(_time_of(record), known, _message_of(self, record))


def error_line(name: str, exit_code: int, message: str, traceback: str | None = None) -> str:
    """What ended a job, as one JSON object; with the traceback of what nobody foresaw."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    known = {"level": "error", "error": name, "exit_code": exit_code}
    return _json_line(now, known if traceback is None else known | {"traceback": traceback}, message)


def _json_line(time: str, known: dict[str, Any], message: str) -> str:
    return json.dumps({"time": time, **redacted_values(known), "message": redacted(message)})


def _message_of(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    message = record.getMessage()
    return f"{message}\n{formatter.formatException(record.exc_info)}" if record.exc_info else message
