"""Train a network on annotated photographs, on rendered scenes, or on both.

Running the same command again goes on from the last durable checkpoint.
Exit codes: 0 complete, 1 training or storage failed, 2 bad configuration or usage, 4 the output belongs to a
training with other settings, 75 interrupted, run again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# Python puts a script's own folder on its path; the packages lie beside that folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.start import job_parser, leave, run_job, take
from pipeline.exit_codes import ExitCode
from pipeline.settings.training import TrainSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and return the exit code; unexpected errors are raised."""
    return run_job(parser(), arguments, when_interrupted="run again to go on from the last checkpoint")


def parser() -> argparse.ArgumentParser:
    """The command line; `handler` runs the job."""
    top = job_parser("train.py", str(__doc__))
    take(top, TrainSettings, _train)
    return top


def _train(settings: TrainSettings) -> int:
    from pipeline.training.run import train

    published = train(settings)
    for name, value in published.metrics.items():
        print(f"{name:10} {value:.4f}")
    print(f"weights    {published.weights} (sha256 {published.sha256})\ncard       {published.card}")
    return ExitCode.COMPLETE


if __name__ == "__main__":
    leave(main)
