"""Train a network: `python jobs/train.py --images URI --annotations FILE --output URI`; see `--help`.

Running the same command again goes on from the last durable checkpoint.
Exit codes: 0 complete, 1 training or storage failed, 2 bad configuration or usage, 75 interrupted, run again.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

# Python puts a script's own folder on its path; the packages lie beside that folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.command_line import add_settings, settings_given
from pipeline.outcome import ExitCode, exit_code_of
from pipeline.training_run import train
from pipeline.training_settings import TRAINING_GROUPS, load_train_settings
from posrefine.errors import PosRefineError


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and return the exit code; unexpected errors are raised."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        published = train(load_train_settings(settings_given(given, TRAINING_GROUPS)))
    except PosRefineError as error:
        code = exit_code_of(error)
        print(f"{type(error).__name__} (exit code {code}): {error}", file=sys.stderr)
        return code
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
        print(f"interrupted (exit code {code}): run again to go on from the last checkpoint", file=sys.stderr)
        return code
    for name, value in published.metrics.items():
        print(f"{name:10} {value:.4f}")
    print(f"weights    {published.weights} (sha256 {published.sha256})\ncard       {published.card}")
    return ExitCode.COMPLETE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="train.py",
        usage="train.py --output URI (--images URI --annotations FILE | --synthetic COUNT) [settings]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_settings(parser, TRAINING_GROUPS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
