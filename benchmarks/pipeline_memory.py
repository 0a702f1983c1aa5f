"""Whether a run's memory stays flat as the number of images grows: the job without a network, on tiny images.

Memory is the sum over the driver, Ray and all workers of what each really has (proportional set size).
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from machine import machine, store
from PIL import Image
from process_memory import measured

ROOT = Path(__file__).parents[1]
SIZES = (1_000, 10_000, 50_000, 200_000)
IMAGES_OF_A_TAR = 10_000
IMAGES_OF_A_UNIT = 100
"""So few that the smallest run too has several units under way at once."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="numbers of images")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="posrefine-benchmark-") as name:
        for images in map(int, arguments.sizes.split(",")):
            given, output = Path(name, f"in{images}"), Path(name, f"out{images}")
            unit_bytes = write_tars(given, images) * IMAGES_OF_A_UNIT
            job = [sys.executable, "benchmarks/idle_model.py", "--input", str(given), "--output", str(output)]
            job += ["--unit-bytes", str(unit_bytes)]
            usage = measured(job, ROOT, f"{images:,} images")
            outcome = json.loads((output / "outcome.json").read_text())
            assert outcome["images"] == {"ok": images}, outcome
            rows.append(
                {"images": images, **usage.as_row(), "images_per_s": round(outcome["images_per_s"], 1)}
            )
    store("pipeline_memory", {"machine": machine(("ray", "pyarrow")), "rows": rows})


def write_tars(folder: Path, images: int) -> int:
    """Bytes of an image in its tar."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (48, 64, 3), np.uint8)).save(file, "JPEG")
    for start in range(0, images, IMAGES_OF_A_TAR):
        with tarfile.open(folder / f"{start:08d}.tar", "w") as tar:
            for number in range(start, min(images, start + IMAGES_OF_A_TAR)):
                member = tarfile.TarInfo(f"{number:08d}.jpg")
                member.size = len(file.getvalue())
                tar.addfile(member, io.BytesIO(file.getvalue()))
    return sum(tar.stat().st_size for tar in folder.iterdir()) // images


if __name__ == "__main__":
    main()
