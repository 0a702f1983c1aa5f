"""What the annotate job makes of a device: its speed over the bare predictor's, and its speed without a network.

- `idle`: a network that does nothing; JPEGs of COCO's size in tars of a real S3 server on loopback, whose own
  work takes its share of the cores as well.
- `start`: seconds from the command to the first committed unit, on a machine without Ray.
- `efficiency`: images/s of a run with default settings once units flow, over those of the fastest bare predictors on
  the same images and all cores, measured right after: one process whose threads are on all cores, and one process
  of one thread for each core.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from annotate_run import ROOT, annotate_tar
from machine import machine, store
from photographs import coco_size_jpegs, tar_of

IMAGES_OF_A_TAR = 500
NETWORKS = (("posrefine_tiny", 256, 1024, 32), ("dekr_w32", 512, 64, 8))
"""Name, input size, number of images, and images of a unit, which the bare predictor is given at once as well."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--idle-images", type=int, default=12_000)
    parser.add_argument("--networks", default=",".join(name for name, *_ in NETWORKS))
    arguments = parser.parse_args()
    photographs = coco_size_jpegs()
    with tempfile.TemporaryDirectory(prefix="posrefine-benchmark-") as name:
        folder = Path(name)
        result: dict[str, Any] = {
            "machine": machine(("ray", "torch", "pyarrow", "s3fs")),
            "image_bytes": round(sum(map(len, photographs)) / len(photographs)),
            "idle": idle(folder, photographs, arguments.idle_images),
        }
        result["efficiency"] = [
            efficiency(folder, photographs, *case)
            for case in NETWORKS
            if case[0] in arguments.networks.split(",")
        ]
    store("runs", result)


def idle(folder: Path, photographs: list[bytes], images: int) -> dict[str, Any]:
    with s3_server() as environment:
        for number, start in enumerate(range(0, images, IMAGES_OF_A_TAR)):
            tar = tar_of(photographs, range(start, min(images, start + IMAGES_OF_A_TAR)))
            put(environment, f"{number:05d}.tar", tar)
        # There is no network, so loading has the cores.
        settings = ["--actors", "1", "--num-cpus-per-actor", "0.2"]
        output = folder / "idle"
        given = ["--input", "s3://bucket/in", "--output", str(output)]
        started = time.perf_counter()
        first = first_unit(output, started)
        command = [sys.executable, "benchmarks/idle_model.py", *settings, *given]
        subprocess.run(command, check=True, cwd=ROOT, env=environment)
        seconds = time.perf_counter() - started
    outcome = json.loads((output / "outcome.json").read_text())
    flowing_s = outcome["seconds"] - outcome["startup_s"]
    return {
        "images": images,
        "seconds_in_all": round(seconds, 2),
        "start_to_first_unit_s": round(first[0], 2),
        "images_per_s": round(images / flowing_s, 1),
        "images_per_s_and_core": round(images / flowing_s / (os.cpu_count() or 1), 1),
        "stage_seconds": {stage: round(spent, 2) for stage, spent in outcome["stage_seconds"].items()},
    }


def efficiency(
    folder: Path, photographs: list[bytes], model: str, input_size: int, images: int, at_once: int
) -> dict[str, Any]:
    given, output = folder / f"{model}.tar", folder / model
    given.write_bytes(tar_of(photographs, range(images)))
    outcome = annotate_tar(given, images, output, model, at_once)
    precision = json.loads((output / "run.json").read_text())["fingerprint"]["precision"]
    cores = os.cpu_count() or 1
    bare = {
        f"{processes} x {cores // processes} threads": bare_images_per_s(
            given, model, input_size, precision, processes, cores // processes, at_once
        )
        for processes in sorted({1, cores})
    }
    run, fastest = images / (outcome["seconds"] - outcome["startup_s"]), max(bare.values())
    return {
        "model": model,
        "input_size": input_size,
        "images": images,
        "images_of_a_unit": at_once,
        "precision": precision,
        "cores": cores,
        "run_images_per_s": round(run, 2),
        "bare_images_per_s": round(fastest, 2),
        "bare_images_per_s_by_processes": {name: round(speed, 2) for name, speed in bare.items()},
        "efficiency": round(run / fastest, 3),
        "efficiency_by_the_run": round(outcome["efficiency"], 3),
        "stage_seconds": {stage: round(spent, 2) for stage, spent in outcome["stage_seconds"].items()},
    }


def bare_images_per_s(
    tar: Path, model: str, input_size: int, precision: str, processes: int, threads: int, at_once: int
) -> float:
    """Images/s of predictors alone that share a tar's images, decoded beforehand, from their common start to the last's end."""
    predictors = [
        subprocess.Popen(
            [
                *(
                    sys.executable,
                    "benchmarks/bare_predictor.py",
                    str(tar),
                    model,
                    str(input_size),
                    precision,
                ),
                *(str(threads), str(at_once), f"{number}/{processes}"),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(processes)
    ]
    assert all(predictor.stdin and predictor.stdout for predictor in predictors)
    ready = [predictor.stdout.readline() for predictor in predictors]
    started = time.perf_counter()
    for predictor in predictors:
        predictor.stdin.write("go\n")
        predictor.stdin.flush()
    done = [int(predictor.communicate()[0]) for predictor in predictors]
    seconds = time.perf_counter() - started
    if ready != ["ready\n"] * processes or any(predictor.returncode for predictor in predictors):
        raise RuntimeError(f"a bare predictor ended early: {ready}, {done}")
    return sum(done) / seconds


def first_unit(output: Path, started: float) -> list[float]:
    """Filled with the seconds from `started` to the first file of a unit, once it is there."""
    found: list[float] = []

    def watch() -> None:
        while not any(output.glob("units/*.parquet")):
            time.sleep(0.02)
        found.append(time.perf_counter() - started)

    threading.Thread(target=watch, daemon=True).start()
    return found


@contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """A server with an empty bucket, in a process of its own; the environment with which others reach it."""
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "5911"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    access = {
        "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:5911",
    }  # fmt: skip
    try:
        for _ in range(100):
            time.sleep(0.1)
            try:
                client(access).create_bucket(Bucket="bucket")
                break
            except OSError:
                continue
            except Exception as error:
                if "connect" not in str(error).lower():
                    raise
        yield {**os.environ, **access}
    finally:
        server.terminate()
        server.wait()


def put(environment: dict[str, str], name: str, data: bytes) -> None:
    client(environment).put_object(Bucket="bucket", Key=f"in/{name}", Body=data)


def client(environment: dict[str, str]) -> Any:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        region_name=environment["AWS_DEFAULT_REGION"],
    )


if __name__ == "__main__":
    main()
