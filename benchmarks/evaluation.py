"""Time and memory of the evaluation beside pycocotools, from files to numbers, at growing numbers of images.

    python benchmarks/evaluation.py --source coco_kp_train2017.npz                     # 500, 5,000 and 50,000
    python benchmarks/evaluation.py --source coco_kp_train2017.npz --images 1000000    # the big one

The source is an archive of keypoint annotations with the arrays image_id [I], wh [I, 2], person_image [P],
bbox [P, 4] and keypoints [P, 17, 3]; its images are repeated under new ids until there are enough. Detections
are the annotated persons with noise, and two invented ones in every image. Every variant runs in a process of
its own and reads the same two JSON files. Rows are added to benchmarks/results/evaluation.json, and the table
of docs/evaluation.md is written from there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from evaluation_files import Source, write_files
from evaluation_table import renew_table
from machine import RESULTS, machine
from process_memory import measured

from posrefine.metrics import CocoMetrics

ROOT = Path(__file__).resolve().parents[1]
STORE = RESULTS / "evaluation.json"
JOB = {
    "numbers": ["--numbers-only", "--no-distributed"],
    "numbers_on_ray": ["--numbers-only", "--distributed"],
    "everything": ["--no-distributed"],
    "everything_on_ray": ["--distributed"],
}
REFERENCE = """
import json, sys, time
if sys.argv[3] == "hotcoco":
    from hotcoco import COCO, COCOeval
else:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval
started = time.perf_counter()
truth = COCO(sys.argv[1])
evaluation = COCOeval(truth, truth.loadRes(sys.argv[2]), "keypoints")
evaluation.evaluate(); evaluation.accumulate(); evaluation.summarize()
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "numbers": [float(number) for number in evaluation.stats]}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--source", type=Path, required=True, help="archive of annotations (.npz)")
    add("--images", type=int, nargs="+", default=[500, 5_000, 50_000])
    add("--variants", nargs="+", choices=tuple(JOB), default=list(JOB), help="of the evaluation; all of them")
    add("--reference-up-to", type=int, default=50_000, help="images up to which pycocotools runs, too")
    add("--hotcoco-python", help="Python of an environment with hotcoco; none: it is left out")
    add("--store", type=Path, default=STORE, help="JSON file that the rows are added to")
    given = parser.parse_args()
    # A Ray of the job's own: one that is running here already would have a past, and no part in the memory.
    os.environ["RAY_ADDRESS"] = "local"
    source = Source.read(given.source)
    for images in given.images:
        with tempfile.TemporaryDirectory() as folder:
            references = {"pycocotools": sys.executable} if images <= given.reference_up_to else {}
            if given.hotcoco_python:
                references["hotcoco"] = given.hotcoco_python
            row = measure(source, images, Path(folder), given.variants, references)
        print(json.dumps(row, indent=2), flush=True)
        store(given.store, row)
    if given.store == STORE:
        renew_table()


def measure(
    source: Source, images: int, folder: Path, variants: list[str], references: dict[str, str]
) -> dict[str, Any]:
    """A row; `references` are other evaluators, with the Python that has each."""
    row: dict[str, Any] = {"machine": machine(("numpy", "pycocotools", "ray")), "images": images}
    truth, found = folder / "annotations.json", folder / "results.json"
    counts = write_files(source, images, truth, found)
    row |= {"persons": counts.persons, "detections": counts.detections}
    row |= {"annotations_bytes": truth.stat().st_size, "results_bytes": found.stat().st_size}
    numbers: dict[str, list[float]] = {}
    for name in variants:
        row[name], numbers[name] = evaluate(truth, found, folder / name, name)
    for name, python in references.items():
        row[name], numbers[name] = refer(truth, found, name, python)
    row["largest_difference"] = max(
        max(column) - min(column) for column in zip(*numbers.values(), strict=True)
    )
    return row


def evaluate(truth: Path, found: Path, output: Path, name: str) -> tuple[dict[str, float], list[float]]:
    job = [sys.executable, str(ROOT / "jobs" / "evaluate.py"), "--protocol", "coco", *JOB[name]]
    job += ["--annotations", str(truth), "--predictions", str(found), "--output", str(output)]
    usage = measured(job, ROOT, name)
    metrics = json.loads((output / "metrics.json").read_text())
    numbers = [metrics[key] for key in CocoMetrics.model_fields]
    return usage.as_row() | {"evaluation_seconds": round(metrics["seconds"], 2), "AP": numbers[0]}, numbers


def refer(truth: Path, found: Path, name: str, python: str) -> tuple[dict[str, float], list[float]]:
    usage = measured([python, "-c", REFERENCE, str(truth), str(found), name], ROOT, name)
    said = json.loads(usage.printed.splitlines()[-1])
    numbers = said["numbers"]
    return usage.as_row() | {"evaluation_seconds": round(said["seconds"], 2), "AP": numbers[0]}, numbers


def store(path: Path, row: dict[str, Any]) -> None:
    """Add the row; one of the same number of images is replaced."""
    rows = json.loads(path.read_text()) if path.exists() else []
    rows = [*(old for old in rows if old["images"] != row["images"]), row]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(sorted(rows, key=lambda one: one["images"]), indent=2) + "\n")


if __name__ == "__main__":
    main()
