"""How a run's speed grows with its inference actors: the small network, each actor with a core's thread."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from annotate_run import annotate_tar
from machine import machine, store
from photographs import coco_size_jpegs, tar_of

MODEL = "posrefine_tiny"
CPUS_PER_ACTOR = 0.6
"""Less than a CPU, so that as many actors as cores leave something for loading; each has one thread."""
IMAGES_OF_A_UNIT = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images-per-actor", type=int, default=512)
    parser.add_argument("--actors", default=",".join(map(str, range(1, (os.cpu_count() or 1) + 1))))
    arguments = parser.parse_args()
    photographs = coco_size_jpegs()
    with tempfile.TemporaryDirectory(prefix="posrefine-benchmark-") as name:
        rows = [
            run_with(actors, arguments.images_per_actor * actors, photographs, Path(name))
            for actors in map(int, arguments.actors.split(","))
        ]
    store("pipeline_workers", {"machine": machine(("ray", "torch")), "model": MODEL, "rows": rows})


def run_with(actors: int, images: int, photographs: list[bytes], folder: Path) -> dict[str, Any]:
    given, output = folder / f"{actors}.tar", folder / f"out{actors}"
    given.write_bytes(tar_of(photographs, range(images)))
    share = ("--actors", str(actors), "--num-cpus-per-actor", str(CPUS_PER_ACTOR))
    outcome = annotate_tar(given, images, output, MODEL, IMAGES_OF_A_UNIT, *share)
    flowing_s = outcome["seconds"] - outcome["startup_s"]
    return {"actors": actors, "images": images, "images_per_s": round(images / flowing_s, 2)}


if __name__ == "__main__":
    main()
