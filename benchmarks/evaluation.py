"""Time and memory of the evaluation beside pycocotools, from files to numbers, at growing numbers of images.

    python benchmarks/evaluation.py --source coco_kp_val2017.npz --images 500 5000 50000
    python benchmarks/evaluation.py --source coco_kp_train2017.npz --images 1000000 --reference-up-to 0

The source is an archive of keypoint annotations with the arrays image_id [I], wh [I, 2], person_image [P],
bbox [P, 4] and keypoints [P, 17, 3]; its images are repeated under new ids until there are enough. Detections
are the annotated persons with noise, and invented ones. Every tool runs in a process of its own and reads the
same two JSON files. `evaluation_seconds` are those from opening the files to the numbers, `seconds` those of
the whole process, imports and the start of Ray included; `cpu_seconds` are without Ray's workers. Memory is
the largest sum of the proportional set sizes of the process and its children, so that pages which Ray's
workers share count once.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "evaluation.json"
JOINTS = json.dumps(
    ["nose"]
    + [
        f"{side}_{joint}"
        for joint in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
        for side in ("left", "right")
    ]
)
REFERENCE = """
import json, sys, time
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
    parser.add_argument("--source", type=Path, required=True, help="archive of annotations (.npz)")
    parser.add_argument("--images", type=int, nargs="+", default=[500, 5000, 50000])
    parser.add_argument(
        "--reference-up-to", type=int, default=50000, help="images up to which pycocotools runs"
    )
    parser.add_argument("--store", type=Path, default=RESULTS, help="JSON file that the rows are added to")
    given = parser.parse_args()
    with np.load(given.source, allow_pickle=False) as archive:
        source = {name: archive[name] for name in archive.files}
    for images in given.images:
        with tempfile.TemporaryDirectory() as folder:
            row = measure(source, images, Path(folder), images <= given.reference_up_to)
        print(json.dumps(row, indent=2), flush=True)
        store(given.store, row)


def measure(
    source: dict[str, NDArray[Any]], images: int, folder: Path, with_reference: bool
) -> dict[str, Any]:
    truth, found = folder / "annotations.json", folder / "results.json"
    persons, detections = write_files(source, images, truth, found)
    job = [sys.executable, str(ROOT / "jobs" / "evaluate.py"), "--protocol", "coco", "--numbers-only"]
    job += ["--annotations", str(truth), "--predictions", str(found), "--output", str(folder / "out")]
    row: dict[str, Any] = {
        "images": images,
        "persons": persons,
        "detections": detections,
        "annotations_bytes": truth.stat().st_size,
        "results_bytes": found.stat().st_size,
    }
    for name, option in (("in_process", "--no-distributed"), ("on_ray", "--distributed")):
        row[name] = timed([*job, option])[0]
        metrics = json.loads((folder / "out" / "metrics.json").read_text())
        numbers = [
            metrics[key] for key in ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
        ]
        row[name] |= {"evaluation_seconds": round(metrics["seconds"], 2), "AP": numbers[0]}
    if with_reference:
        row["pycocotools"], printed = timed([sys.executable, "-c", REFERENCE, str(truth), str(found)])
        reference = json.loads(printed.splitlines()[-1])
        expected = reference["numbers"]
        row["pycocotools"] |= {"evaluation_seconds": round(reference["seconds"], 2), "AP": expected[0]}
        row["largest_difference"] = max(abs(a - b) for a, b in zip(numbers, expected, strict=True))
    return row


def write_files(source: dict[str, NDArray[Any]], images: int, truth: Path, found: Path) -> tuple[int, int]:
    """Write both files record by record; returns the numbers of persons and detections."""
    rng = np.random.default_rng(0)
    first = np.searchsorted(source["person_image"], np.arange(len(source["image_id"]) + 1))
    persons = detections = 0
    with truth.open("w") as annotations, found.open("w") as results:
        annotations.write(f'{{"categories":[{{"id":1,"name":"person","keypoints":{JOINTS}}}],"images":[')
        write_list(annotations, image_entries(source, images))
        annotations.write('],"annotations":[')
        results.write("[")
        for image_id in range(1, images + 1):
            original = (image_id - 1) % len(source["image_id"])
            rows = np.arange(first[original], first[original + 1])
            for row in rows:
                persons += 1
                annotations.write("," if persons > 1 else "")
                annotations.write(json.dumps(person(source, int(row), image_id, persons)))
            for entry in noisy(source, rows, image_id, rng):
                detections += 1
                results.write(("," if detections > 1 else "") + json.dumps(entry))
        annotations.write("]}")
        results.write("]")
    return persons, detections


def image_entries(source: dict[str, NDArray[Any]], images: int) -> Iterator[dict[str, Any]]:
    for image_id in range(1, images + 1):
        width, height = source["wh"][(image_id - 1) % len(source["wh"])].tolist()
        yield {"id": image_id, "file_name": f"{image_id:012d}.jpg", "width": width, "height": height}


def write_list(file: TextIO, entries: Iterator[dict[str, Any]]) -> None:
    for number, entry in enumerate(entries):
        file.write(("," if number else "") + json.dumps(entry))


def person(source: dict[str, NDArray[Any]], row: int, image_id: int, annotation_id: int) -> dict[str, Any]:
    """The archive has no areas; two thirds of the box is near what segments have."""
    box = [round(float(value), 2) for value in source["bbox"][row]]
    keypoints = source["keypoints"][row]
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": box,
        "area": round(box[2] * box[3] * 2 / 3, 2),
        "keypoints": keypoints.ravel().tolist(),
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
    }


def noisy(
    source: dict[str, NDArray[Any]], rows: NDArray[np.int64], image_id: int, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Every person with noise of a share of its size, and two that are not there."""
    for row in [*rows, *rng.choice(len(source["bbox"]), 2)]:
        points = source["keypoints"][row].astype(float)
        size_px = float(np.sqrt(source["bbox"][row, 2:].prod()))
        points[:, :2] += rng.normal(0, rng.uniform(0, 0.08) * size_px, (17, 2))
        points[:, 2] = 1
        score = round(float(rng.random()), 4)
        keypoints = np.round(points, 2).ravel().tolist()
        yield {"image_id": image_id, "category_id": 1, "keypoints": keypoints, "score": score}


def timed(command: list[str]) -> tuple[dict[str, float], str]:
    """Seconds and peak memory of a process, and what it printed."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    peak_bytes, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.25):
            peak_bytes[0] = max(peak_bytes[0], sum(proportional_bytes(pid) for pid in family(process.pid)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    done.set()
    watcher.join()
    if status != 0:
        raise RuntimeError(f"{command[:3]} ended with status {status}")
    return {
        "seconds": round(time.perf_counter() - started, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_bytes": peak_bytes[0],
    }, printed


def family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(member for child in children for member in family(int(child)))]


def proportional_bytes(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def store(path: Path, row: dict[str, Any]) -> None:
    """Add the row with machine, versions and date; a row of the same number of images is replaced."""
    rows = json.loads(path.read_text()) if path.exists() else []
    about = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {cpu_name()}",
        "load_before": round(os.getloadavg()[2], 1),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "pycocotools": version("pycocotools"),
        "ray": version("ray"),
    }
    rows = [old for old in rows if old["images"] != row["images"]]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(sorted([*rows, row | about], key=lambda one: one["images"]), indent=2) + "\n")


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown CPU"


if __name__ == "__main__":
    main()
