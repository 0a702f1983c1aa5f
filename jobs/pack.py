"""Pack images and annotations into tar shards: `python jobs/pack.py --output URI --synthetic 1000`.

Exit codes: 0 complete, 1 crash or storage trouble, 2 bad configuration or usage.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

# Python puts a script's own folder on its path; the packages lie beside that folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.outcome import exit_code_of
from pipeline.pack_sources import FolderSource, SceneSource
from pipeline.packing import PackSource, pack
from pipeline.storage import Storage
from posrefine.errors import PosRefineError
from posrefine.skeletons import SKELETONS
from posrefine.synthetic import EASY, HARD, MEDIUM, TRAIN, SceneSpec

SPECS: dict[str, tuple[SceneSpec, ...]] = {
    "easy": (EASY,),
    "medium": (MEDIUM,),
    "hard": (HARD,),
    "all": (EASY, MEDIUM, HARD),
    "train": (TRAIN, EASY, MEDIUM, HARD),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack and return the exit code; unexpected errors are raised."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if (given.images is None) != (given.annotations is None):
        parser.error("--images and --annotations belong together")
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    try:
        summary = pack(_source(given), given.output, given.shard_images, Storage())
    except PosRefineError as error:
        code = exit_code_of(error)
        print(f"{type(error).__name__} (exit code {code}): {error}", file=sys.stderr)
        return code
    print(
        f"packed {summary.images:,} images with {summary.persons:,} persons "
        f"into {len(summary.shards):,} shards"
    )
    print(f"annotations: {summary.annotations}")
    return 0


def _source(given: argparse.Namespace) -> PackSource:
    if given.images is not None:
        return FolderSource.open(given.images, given.annotations, Storage())
    specs = SPECS[given.scenes]
    if given.people is not None:
        specs = tuple(replace(spec, people=given.people) for spec in specs)
    return SceneSource(SKELETONS[given.skeleton], specs, given.synthetic, given.seed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pack.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--output", required=True, metavar="URI", help="gets shards/*.tar and annotations.json"
    )
    parser.add_argument(
        "--shard-images", type=_positive, default=256, metavar="N", help="images in a shard (default: 256)"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--synthetic", type=_positive, metavar="COUNT", help="render this many scenes")
    source.add_argument("--images", metavar="URI", help="folder that --annotations names files of")
    parser.add_argument("--annotations", metavar="URI", help="COCO or CrowdPose annotation file of --images")
    scenes = parser.add_argument_group("Scenes")
    scenes.add_argument("--seed", type=int, default=0, metavar="N", help="of the first scene (default: 0)")
    scenes.add_argument("--scenes", choices=sorted(SPECS), default="all", help="how crowded (default: all)")
    scenes.add_argument("--people", type=_range, metavar="LOW-HIGH", help="persons in a scene")
    scenes.add_argument("--skeleton", choices=sorted(SKELETONS), default="coco", help="(default: coco)")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: give a number above 0")
    return number


def _range(text: str) -> tuple[int, int]:
    low, separator, high = text.partition("-")
    if not separator:
        high = low
    return int(low), int(high)


if __name__ == "__main__":
    sys.exit(main())
