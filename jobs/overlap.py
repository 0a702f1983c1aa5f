"""List the images that a test set shares with a training set: `python jobs/overlap.py --help`.

Images are recognised by their persons, whatever they are called in the two files. The list is for
`jobs/evaluate.py --train-overlap`. Exit codes: 0 done, 1 crash or storage, 2 bad input or usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# Python puts a script's own folder on its path; the packages lie beside that folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.ground_truth import read_annotations
from pipeline.outcome import ExitCode, exit_code_of
from pipeline.storage import Storage
from pipeline.train_overlap import encode_overlap, images_shared_with
from posrefine.errors import PosRefineError
from posrefine.metrics import PROTOCOLS, protocol_named


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the list and return the exit code; unexpected errors are raised."""
    given = _parser().parse_args(arguments)
    protocol, storage = protocol_named(given.protocol), Storage()
    try:
        truth = read_annotations(storage, given.annotations, protocol).truth
        shared = images_shared_with(storage, given.training, truth, protocol.skeleton)
        storage.put(given.output, encode_overlap(shared))
    except PosRefineError as error:
        code = exit_code_of(error)
        print(f"{type(error).__name__} (exit code {code}): {error}", file=sys.stderr)
        return code
    print(f"{len(shared):,} of {len(truth.image_ids):,} images are in the training set: {given.output}")
    return ExitCode.COMPLETE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="overlap.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--annotations", required=True, metavar="URI", help="of the test set, in COCO's form")
    add("--protocol", required=True, choices=sorted(PROTOCOLS), help="whose joints the test set has")
    add(
        "--training",
        required=True,
        metavar="URI",
        help="annotations of the training set, COCO's or CrowdPose's",
    )
    add("--output", required=True, metavar="URI", help="JSON file for the list")
    return parser


if __name__ == "__main__":
    sys.exit(main())
