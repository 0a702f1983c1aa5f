"""How a run's speed grows with its inference actors: the small network, each actor with a core's thread."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from machine import machine, store
from photographs import coco_size_jpegs, tar_of

ROOT = Path(__file__).parents[1]
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
    unit_bytes = given.stat().st_size * IMAGES_OF_A_UNIT // images
    network = ["--model", MODEL, "--weights", "untrained", "--unit-bytes", str(unit_bytes)]
    share = ["--actors", str(actors), "--num-cpus-per-actor", str(CPUS_PER_ACTOR)]
    command = [sys.executable, "jobs/annotate.py", "run", "--input", str(given), "--output", str(output)]
    subprocess.run([*command, *network, *share], check=True, cwd=ROOT)
    outcome = json.loads((output / "outcome.json").read_text())
    flowing_s = outcome["seconds"] - outcome["startup_s"]
    return {"actors": actors, "images": images, "images_per_s": round(images / flowing_s, 2)}


if __name__ == "__main__":
    main()
