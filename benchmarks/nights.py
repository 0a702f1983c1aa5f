"""Thirty simulated nights: photographs arrive in a bucket, are replaced, renamed and deleted, and `sync` follows.

The bucket is on an S3 server of this machine, the network is real, and so is Ray. After each night the table of images
is compared with the bucket, byte for byte by SHA-256, and all rows with those of a fresh run over the bucket as it is
then.

    python benchmarks/nights.py --photographs ../shared/data/coco67/images
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import random
import sys
import tarfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import ray
from machine import machine, store

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.annotation import require_same_rows, table  # noqa: E402
from support.s3 import Bucket, S3Server  # noqa: E402

from jobs.annotate import main as annotate  # noqa: E402
from pipeline.output.run_output import RunOutput  # noqa: E402
from pipeline.storage import Storage  # noqa: E402

NIGHTS = 30
NETWORK = (
    *("--model", "posrefine_tiny", "--weights", "posrefine:tiny_coco", "--precision", "float32"),
    *("--input-size", "128", "--unit-images", "8", "--table-units", "2", "--replaced-grace-s", "0"),
)


@dataclass
class Night:
    """What became of the bucket in a night, and what the sync made of it."""

    night: int
    arrived: int = 0
    replaced: int = 0
    renamed: int = 0
    deleted: int = 0
    objects: int = 0
    images: int = 0
    generation: int = 0
    sync_seconds: float = 0.0
    images_differ_from_bucket: int = 0
    images_of_fresh_run: int = 0
    persons_of_fresh_run: int = 0


@dataclass
class Simulation:
    """The bucket, and the photographs that are still to come."""

    bucket: Bucket
    waiting: list[bytes]
    chance: random.Random
    objects: dict[str, bytes] = field(default_factory=dict)
    count: int = 0

    def change(self, night: Night) -> None:
        """A night's uploads; every fifth night nothing happens."""
        if night.night % 5 == 0:
            return
        for _ in range(12 if night.night == 1 else self.chance.randint(0, 4)):
            if self.waiting:
                self.count += 1
                self.put(f"photographs/{self.chance.choice('abc')}/{self.count:04d}.jpg", self.waiting.pop())
                night.arrived += 1
        photographs = sorted(key for key in self.objects if key.endswith(".jpg"))
        for key in self.chance.sample(photographs, self.chance.randint(0, 2)):
            move = self.chance.choice(["replace", "delete", "rename"])
            if move == "replace":
                self.put(
                    key,
                    self.objects[self.chance.choice(photographs)] if self.chance.random() < 0.5 else b"cut",
                )
                night.replaced += 1
            else:
                data = self.remove(key)
                night.deleted += move == "delete"
                if move == "rename":
                    self.put(key.replace(".jpg", "-renamed.jpg"), data)
                    night.renamed += 1
        if night.night in (4, 14) and len(self.waiting) > 3:
            self.put("photographs/shard.tar", tar_of([self.waiting.pop() for _ in range(3)]))
            night.arrived += 1
        if night.night == 22:
            self.remove("photographs/shard.tar")
            night.deleted += 1

    def put(self, key: str, data: bytes) -> None:
        self.objects[key] = data
        self.bucket.client.put_object(Bucket=self.bucket.name, Key=key, Body=data)

    def remove(self, key: str) -> bytes:
        self.bucket.client.delete_object(Bucket=self.bucket.name, Key=key)
        return self.objects.pop(key)

    def hashes(self) -> list[str]:
        """SHA-256 of every photograph that is in the bucket."""
        found = []
        for key, data in self.objects.items():
            found += [sha256(one) for one in (members(data) if key.endswith(".tar") else [data])]
        return sorted(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photographs", type=Path, required=True, help="folder of JPEG files")
    parser.add_argument("--nights", type=int, default=NIGHTS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    photographs = [path.read_bytes() for path in sorted(arguments.photographs.glob("*.jpg"))]
    with S3Server() as server:
        os.environ |= server.environment()
        ray.init(num_cpus=2, log_to_driver=False, logging_level="ERROR")
        world = Simulation(server.make_bucket(), list(photographs), random.Random(arguments.seed))
        nights = [night_of(world, number) for number in range(1, arguments.nights + 1)]
        ray.shutdown()
    result = {
        "machine": machine(("ray", "pyarrow", "deltalake", "moto")),
        "seed": arguments.seed,
        "photographs": len(photographs),
        "nights": [asdict(night) for night in nights],
        "images_differ": sum(night.images_differ_from_bucket for night in nights),
    }
    store("nights", result)


def night_of(world: Simulation, number: int) -> Night:
    night = Night(number)
    world.change(night)
    given, output = f"s3://{world.bucket.name}/photographs", f"s3://{world.bucket.name}/results/poses"
    started = time.perf_counter()
    code = annotate(["sync", "--input", given, "--output", output, *NETWORK, "--max-error-rate", "1"])
    night.sync_seconds = round(time.perf_counter() - started, 2)
    assert code == 0, code
    counts = RunOutput.at(output, Storage()).counts()
    assert counts is not None
    night.objects, night.images, night.generation = len(world.objects), counts.images, counts.generation
    hashes = sorted(table(output, "images")["sha256"].to_pylist())
    night.images_differ_from_bucket = len(set(hashes) ^ set(world.hashes())) + (hashes != world.hashes())
    fresh = f"s3://{world.bucket.name}/results/fresh{number:02d}"
    code = annotate(["run", "--input", given, "--output", fresh, *NETWORK, "--max-error-rate", "1"])
    assert code == 0, code
    require_same_rows(output, fresh)
    night.images_of_fresh_run, night.persons_of_fresh_run = (
        len(table(fresh, name)) for name in ("images", "persons")
    )
    print(json.dumps(asdict(night)), flush=True)
    return night


def tar_of(photographs: list[bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for number, data in enumerate(photographs):
            entry = tarfile.TarInfo(f"{number}.jpg")
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def members(data: bytes) -> list[bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return [file.read() for member in tar.getmembers() if (file := tar.extractfile(member)) is not None]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    main()
