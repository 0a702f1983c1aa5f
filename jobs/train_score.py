"""Train the rescoring network on the poses of runs.

The runs are of the annotate job over the annotated training images, without a rescoring network. One is
enough; one for every set of test scales that the network will rescore is best.
Exit codes: 0 complete, 1 training or storage failed, 2 bad configuration or usage, 75 interrupted.
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
from pipeline.settings.train_score import ScoreSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and return the exit code; unexpected errors are raised."""
    return run_job(parser(), arguments)


def parser() -> argparse.ArgumentParser:
    """The command line; `handler` runs the job."""
    top = job_parser("train_score.py", str(__doc__))
    take(top, ScoreSettings, _train_score)
    return top


def _train_score(settings: ScoreSettings) -> int:
    from pipeline.storage import Storage
    from pipeline.training.score import train_score
    from posrefine.training.score import ScoreRecipe

    published = train_score(
        settings.run,
        settings.annotations,
        settings.skeleton,
        settings.output,
        ScoreRecipe(settings.epochs, settings.batch_size, settings.learning_rate, settings.seed),
        Storage(),
        settings.licence,
    )
    print(f"learnt from {published.poses:,} poses; its OKS is off by {published.error_oks:.4f} there (RMS)")
    print(f"weights    {published.weights} (sha256 {published.sha256})")
    return ExitCode.COMPLETE


if __name__ == "__main__":
    leave(main)
