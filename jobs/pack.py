"""Pack rendered scenes, or images with their annotations, into tar shards.

Exit codes: 0 complete, 1 crash or storage trouble, 2 bad configuration or usage, 75 interrupted, run again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

# Python puts a script's own folder on its path; the packages lie beside that folder.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs.start import job_parser, leave, run_job, take
from pipeline.exit_codes import ExitCode
from pipeline.settings.packing import PackSettings

if TYPE_CHECKING:
    from pipeline.packing.pack import PackSource


def main(arguments: Sequence[str] | None = None) -> int:
    """Pack and return the exit code; unexpected errors are raised."""
    return run_job(parser(), arguments)


def parser() -> argparse.ArgumentParser:
    """The command line; `handler` runs the job."""
    top = job_parser("pack.py", str(__doc__))
    take(top, PackSettings, _pack)
    return top


def _pack(settings: PackSettings) -> int:
    from pipeline.packing.pack import pack
    from pipeline.storage import Storage

    summary = pack(_source(settings), settings.output, settings.shard_images, Storage())
    print(
        f"packed {summary.images:,} images with {summary.persons:,} persons "
        f"into {len(summary.shards):,} shards"
    )
    print(f"annotations: {summary.annotations}")
    return ExitCode.COMPLETE


def _source(settings: PackSettings) -> PackSource:
    from pipeline.packing.sources import FolderSource, SceneSource
    from pipeline.storage import Storage
    from posrefine.skeletons import SKELETONS
    from posrefine.synthetic import SCENE_KINDS

    if settings.images is not None and settings.annotations is not None:
        return FolderSource.open(settings.images, settings.annotations, Storage())
    specs = SCENE_KINDS[settings.scenes]
    if settings.people is not None:
        specs = tuple(spec.with_people(*settings.people) for spec in specs)
    return SceneSource(SKELETONS[settings.skeleton], specs, settings.synthetic or 0, settings.seed)


if __name__ == "__main__":
    leave(main)
