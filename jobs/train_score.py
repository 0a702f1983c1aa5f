"""Train the rescoring network on the poses of runs: `python jobs/train_score.py --run URI ...`.

The runs are of the annotate job over the annotated training images, without a rescoring network. One is
enough; one for every set of test scales that the network will rescore is best.
Exit codes: 0 complete, 1 training or storage failed, 2 bad configuration or usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# Python puts a script's own folder on its path; the packages lie beside that folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.outcome import ExitCode, exit_code_of
from pipeline.score_training import train_score
from pipeline.storage import Storage
from posrefine.errors import PosRefineError
from posrefine.skeletons import SKELETONS
from posrefine.training.score import ScoreRecipe


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and return the exit code; unexpected errors are raised."""
    given = _parser().parse_args(arguments)
    recipe = ScoreRecipe(given.epochs, given.batch_size, given.learning_rate, given.seed)
    try:
        published = train_score(
            given.run, given.annotations, given.skeleton, given.output, recipe, Storage(), given.licence
        )
    except PosRefineError as error:
        code = exit_code_of(error)
        print(f"{type(error).__name__} (exit code {code}): {error}", file=sys.stderr)
        return code
    print(f"learnt from {published.poses:,} poses; its OKS is off by {published.error_oks:.4f} there (RMS)")
    print(f"weights    {published.weights} (sha256 {published.sha256})")
    return ExitCode.COMPLETE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="train_score.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    recipe = ScoreRecipe()
    parser.add_argument("--run", required=True, metavar="URI", nargs="+", help="outputs of the annotate job")
    parser.add_argument("--annotations", required=True, metavar="URI", help="annotation file of its images")
    parser.add_argument("--output", required=True, metavar="URI", help="safetensors file to write")
    parser.add_argument("--skeleton", choices=sorted(SKELETONS), default="coco", help="(default: coco)")
    parser.add_argument("--licence", default="unstated", help="of the trained weights (default: unstated)")
    parser.add_argument("--epochs", type=int, default=recipe.epochs, help=f"(default: {recipe.epochs})")
    parser.add_argument(
        "--batch-size", type=int, default=recipe.batch_size, help=f"(default: {recipe.batch_size})"
    )
    parser.add_argument(
        "--learning-rate", type=float, default=recipe.learning_rate, help=f"(default: {recipe.learning_rate})"
    )
    parser.add_argument("--seed", type=int, default=recipe.seed, help=f"(default: {recipe.seed})")
    return parser


if __name__ == "__main__":
    sys.exit(main())
