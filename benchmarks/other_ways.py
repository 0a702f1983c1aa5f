"""One of the other ways from a folder of JPEGs to poses: `python benchmarks/other_ways.py WAY FOLDER MODEL INPUT_SIZE`.

Prints a line of JSON: images, and seconds from the first image to the last. What is imported only where a way
needs it need not be installed for the others.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

CORES = os.cpu_count() or 1
BATCH = 8


def main() -> None:
    way, folder, model, input_size = sys.argv[1:]
    images, seconds = WAYS[way](Path(folder), model, int(input_size))
    print(json.dumps({"images": images, "seconds": seconds}))


def plain_loop(folder: Path, model: str, input_size: int) -> tuple[int, float]:
    import cv2
    import torch
    from plain_test_loop import poses

    from posrefine import build_model

    torch.manual_seed(0)
    weights = build_model(model).eval().state_dict()
    paths = sorted(folder.glob("*.jpg"))
    started = time.perf_counter()
    for path in paths:
        poses(weights, cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), input_size)
    return len(paths), time.perf_counter() - started


def ray_data(folder: Path, model: str, input_size: int) -> tuple[int, float]:
    """The same predictor, mapped by Ray Data alone: an actor of one thread on every core, and nothing kept if it dies."""
    import pyarrow.parquet as pq
    import ray
    from ray.data import ActorPoolStrategy

    class Annotate:
        def __init__(self) -> None:
            import torch

            from posrefine import Predictor, build_model

            torch.set_num_threads(1)
            torch.manual_seed(0)
            self.predictor = Predictor(build_model(model), input_size)

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            began = np.full(len(batch["path"]), time.time())
            found = self.predictor(list(batch["image"]))
            return {
                "path": batch["path"],
                "persons": np.array([len(poses) for poses in found]),
                "began": began,
            }

    ray.init(num_cpus=CORES, log_to_driver=False, logging_level="error")
    ray.data.DataContext.get_current().enable_progress_bars = False
    # Beside actors that take their whole cores, nothing could be read or written.
    slight = {"num_cpus": 0.1}
    images = ray.data.read_images(str(folder), mode="RGB", include_paths=True, ray_remote_args=slight)
    with tempfile.TemporaryDirectory() as output:
        images.map_batches(
            Annotate, batch_size=BATCH, compute=ActorPoolStrategy(size=CORES), num_cpus=0.8
        ).write_parquet(output, ray_remote_args=slight)
        ended = time.time()
        # What the actors take to start is not the images' time, here as in the annotate job.
        began = pq.read_table(output, columns=["began"])["began"].to_pylist()
    return len(began), ended - min(began)


def ultralytics(folder: Path, model: str, input_size: int) -> tuple[int, float]:
    """A YOLO-pose network with random weights; what it finds means nothing, and speed alone is looked at."""
    from ultralytics import YOLO

    network = YOLO(f"{model}.yaml")
    paths = [str(path) for path in sorted(folder.glob("*.jpg"))]
    network.predict(paths[:1], imgsz=input_size, device="cpu", verbose=False)
    started = time.perf_counter()
    for first in range(0, len(paths), BATCH):
        network.predict(paths[first : first + BATCH], imgsz=input_size, device="cpu", verbose=False)
    return len(paths), time.perf_counter() - started


WAYS = {"plain_loop": plain_loop, "ray_data": ray_data, "ultralytics": ultralytics}

if __name__ == "__main__":
    main()
