"""What all command lines of the project have in common; the jobs' have it from here, too."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from posrefine.redaction import redacted
from posrefine.version import code_version

__all__ = ["Parser", "Version"]


class Parser(argparse.ArgumentParser):
    """Says what is wrong with a command line without the secrets in it."""

    def error(self, message: str) -> NoReturn:
        """Print usage and message on standard error, and exit with code 2."""
        super().error(redacted(message))


class Version(argparse.Action):
    """Finds the version when it is asked for: git may have to be asked."""

    def __init__(self, option_strings: Sequence[str], dest: str) -> None:
        super().__init__(
            option_strings, dest, nargs=0, default=argparse.SUPPRESS, help="say which code this is"
        )

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Print it and exit."""
        print(f"posrefine {code_version()}")
        parser.exit()
