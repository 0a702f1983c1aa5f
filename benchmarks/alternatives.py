"""What else one could use: other ways from a folder of photographs to poses, beside the annotate job, in one run.

    python benchmarks/alternatives.py --price-per-hour 0.1
    python benchmarks/alternatives.py --ultralytics-python other/bin/python    # an environment that has Ultralytics

All have all cores of this machine and the same JPEGs; networks have random weights, so that none finds more than
another. The table of docs/comparisons.md is written from the stored result.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from machine import RESULTS, machine, store
from page_marks import renewed
from photographs import coco_size_jpegs
from process_memory import Usage, measured

ROOT = Path(__file__).resolve().parents[1]
PAGE, NAME = ROOT / "docs" / "comparisons.md", "alternatives"
START, END = "<!-- written by `python benchmarks/alternatives.py` -->", "<!-- end of the table -->"
MODEL, INPUT_SIZE = "dekr_w32", 512
YOLO, YOLO_SIZE = "yolo11m-pose", 640


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--images", type=int, default=64, help="photographs")
    add("--plain-images", type=int, default=16, help="photographs of the plain test loop, which is slow")
    add("--ultralytics-python", help="Python of an environment with Ultralytics; none: it has no row")
    add("--price-per-hour", type=float, help="of this machine, in any currency: what a million images cost")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="posrefine-benchmark-") as name:
        many, few = Path(name) / "many", Path(name) / "few"
        write(many, given.images)
        write(few, given.plain_images)
        rows = [annotate(many, Path(name) / "output"), other("ray_data", many), other("plain_loop", few)]
        if given.ultralytics_python:
            rows.append(other("ultralytics", many, given.ultralytics_python, YOLO, YOLO_SIZE))
    result = {
        "machine": machine(("ray", "torch")),
        "ultralytics": given.ultralytics_python and ultralytics_version(given.ultralytics_python),
        "price_per_hour": given.price_per_hour,
        "rows": rows,
    }
    store(NAME, result)
    PAGE.write_text(with_table(PAGE.read_text()))


def write(folder: Path, images: int) -> None:
    folder.mkdir()
    photographs = coco_size_jpegs()
    for number in range(images):
        (folder / f"{number:05d}.jpg").write_bytes(photographs[number % len(photographs)])


def annotate(folder: Path, output: Path) -> dict[str, Any]:
    """The annotate job, with default settings but for units small enough that both ends of the run are short."""
    command = [sys.executable, "jobs/annotate.py", "run", "--input", str(folder), "--output", str(output)]
    usage = measured(
        [*command, "--model", MODEL, "--weights", "untrained", "--unit-images", "8"], ROOT, "annotate"
    )
    outcome = json.loads((output / "outcome.json").read_text())
    flowing_s = outcome["seconds"] - outcome["startup_s"]
    return row("annotate", len(list(folder.iterdir())), flowing_s, usage)


def other(
    way: str,
    folder: Path,
    python: str = sys.executable,
    model: str = MODEL,
    input_size: int = INPUT_SIZE,
) -> dict[str, Any]:
    command = [python, "benchmarks/other_ways.py", way, str(folder), model, str(input_size)]
    usage = measured(command, ROOT, way)
    said = json.loads(usage.printed.splitlines()[-1])
    return row(way, said["images"], said["seconds"], usage)


def row(way: str, images: int, flowing_s: float, usage: Usage) -> dict[str, Any]:
    return {
        "way": way,
        "images": images,
        "images_per_s": round(images / flowing_s, 3),
        "images_per_s_and_core": round(images / flowing_s / (os.cpu_count() or 1), 3),
        "rest_s": round(usage.seconds - flowing_s, 2),
        **usage.as_row(),
    }


def ultralytics_version(python: str) -> str:
    program = "from importlib.metadata import version; print(version('ultralytics'))"
    return subprocess.run([python, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


def with_table(page: str) -> str:
    """The page with the table of the stored result."""
    return renewed(page, START, END, table(json.loads((RESULTS / f"{NAME}.json").read_text())))


def table(result: dict[str, Any]) -> str:
    ran, price = result["machine"], result["price_per_hour"]
    titles = {
        "annotate": f"`jobs/annotate.py run`, {MODEL} at {INPUT_SIZE} px, mirrored",
        "ray_data": "the same predictor under Ray Data's `read_images`, `map_batches`, `write_parquet`",
        "plain_loop": "DEKR's test loop, plainly: eager, float32, one photograph at a time",
        "ultralytics": f"Ultralytics {result['ultralytics']}, {YOLO} at {YOLO_SIZE} px, not mirrored",
    }
    header = ["way", "images", "images/s", "images/s and core", "seconds beside that", "peak memory, GB"]
    if price is not None:
        header.append(f"a million images at {price:g} an hour")
    lines = [header, ["---"] * len(header)]
    for row in result["rows"]:
        line = [titles[row["way"]], str(row["images"])]
        line += [f"{row[key]:.2f}" for key in ("images_per_s", "images_per_s_and_core")]
        line += [f"{row['rest_s']:.1f}", f"{row['peak_bytes'] / 1e9:.1f}"]
        if price is not None:
            line.append(f"{price * 1e6 / row['images_per_s'] / 3600:,.0f}")
        lines.append(line)
    where = (
        f"{ran['cores']} cores {ran['cpu']}, torch {ran['torch']}, ray {ran['ray']}, {ran['date']}, load "
        f"average {ran['load_average_1min']} when it ended."
    )
    return "\n".join([where, "", *(f"| {' | '.join(line)} |" for line in lines)])


if __name__ == "__main__":
    main()
