"""List the images that a test set shares with a training set.

Images are recognised by their persons, whatever they are called in the two files. The list is for the option
`--train-overlap` of evaluate.py.
Exit codes: 0 done, 1 crash or storage, 2 bad input or usage, 75 interrupted.
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
from pipeline.settings.overlap import OverlapSettings


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the list and return the exit code; unexpected errors are raised."""
    return run_job(parser(), arguments)


def parser() -> argparse.ArgumentParser:
    """The command line; `handler` runs the job."""
    top = job_parser("overlap.py", str(__doc__))
    take(top, OverlapSettings, _overlap)
    return top


def _overlap(settings: OverlapSettings) -> int:
    from pipeline.ground_truth.annotations import read_annotations
    from pipeline.ground_truth.train_overlap import encode_overlap, images_shared_with
    from pipeline.storage import Storage
    from posrefine.metrics import oks_rules

    protocol, storage = oks_rules(settings.protocol), Storage()
    truth = read_annotations(storage, settings.annotations, protocol).truth
    shared = images_shared_with(storage, settings.training, truth, protocol.skeleton)
    storage.put(settings.output, encode_overlap(shared))
    print(f"{len(shared):,} of {len(truth.image_ids):,} images are in the training set: {settings.output}")
    return ExitCode.COMPLETE


if __name__ == "__main__":
    leave(main)
