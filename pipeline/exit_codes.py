"""The exit codes of the jobs, and which error ends with which."""

from __future__ import annotations

from enum import IntEnum

from posrefine.errors import ConfigurationError, FingerprintMismatch, ObjectMissing, OutputLocked

__all__ = ["ExitCode", "exit_code_of"]


class ExitCode(IntEnum):
    """The process's exit code."""

    COMPLETE = 0
    CRASH = 1
    BAD_CONFIGURATION = 2
    OVER_ERROR_BUDGET = 3
    DIFFERENT_RUN = 4
    LOCKED = 5
    INTERRUPTED = 75


def exit_code_of(error: BaseException) -> ExitCode:
    """The exit code that an exception ends a run with."""
    if isinstance(error, FingerprintMismatch):
        return ExitCode.DIFFERENT_RUN
    if isinstance(error, OutputLocked):
        return ExitCode.LOCKED
    # An object that is not there was named by the user: a run's own files and images never end it so.
    if isinstance(error, ConfigurationError | ObjectMissing):
        return ExitCode.BAD_CONFIGURATION
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return ExitCode.INTERRUPTED
    return ExitCode.CRASH
