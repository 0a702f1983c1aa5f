"""A campaign of faults: runs on a store that misbehaves, whose driver and workers are killed at random.

Each run is started again until it is complete, a limited number of times; then the images of its tables are
counted against those of its input, and every row is compared with an undisturbed run's. What strikes when is
chosen by the seed. Needs the development extras, whose test support it shares.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

from support.annotation import annotate, require_same_tables, some_images, start_driver, table  # noqa: E402
from support.faultproxy import FaultProxy, Kind  # noqa: E402
from support.ray_cluster import started_cluster, worker_pids  # noqa: E402
from support.s3 import Bucket, S3Server  # noqa: E402

from benchmarks.machine import machine, store  # noqa: E402

_STARTS_PER_RUN = 20
_LONGEST_START_S = 600
_GETS: tuple[Kind, ...] = ("503", "reset", "hang", "slow", "reset_body", "short_body", "flip")
_PUTS: tuple[Kind, ...] = ("503", "409", "reset", "slow", "lost_reply")
# Moto sends checksums of whole objects only, which are what images are read as; Parquet files are read so too.
_IMAGES, _RESULTS = r"/images/", r"/(units|tables)/|run\.json|manifest|lock\.json|_SUCCESS|outcome"


@dataclass
class Campaign:
    """What was done, and what became of the images."""

    runs: int = 0
    complete: int = 0
    starts: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    images_in: int = 0
    lost: int = 0
    doubled: int = 0
    failed_otherwise: int = 0
    tables_different: int = 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=9.0, help="no run is begun after so long")
    parser.add_argument("--images", type=int, default=24, help="of each run; the last of them is no image")
    parser.add_argument("--kills", type=int, default=4, help="processes killed in each run")
    parser.add_argument("--storage-faults", type=int, default=12, help="of each run")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    began, found, chance = time.monotonic(), Campaign(), random.Random(given.seed)
    with S3Server() as server, FaultProxy(server.host, server.port) as proxy:
        environment = server.environment(proxy.url)
        os.environ |= environment
        with started_cluster(environment) as address:
            site = _Site(server, proxy, address, some_images(given.images))
            while time.monotonic() - began < given.minutes * 60:
                site.disturbed_run(found, chance, given.kills, given.storage_faults)
                print(asdict(found), flush=True)
    settings = {key: value for key, value in vars(given).items() if key != "minutes"}
    result = {"settings": settings, "minutes": round((time.monotonic() - began) / 60, 1), **asdict(found)}
    store("faults", {"machine": machine(("ray", "s3fs", "moto", "torch")), **result})


class _Site:
    """The bucket, the images in it, and what an undisturbed run makes of them."""

    def __init__(
        self, server: S3Server, proxy: FaultProxy, address: str, images: Mapping[str, bytes]
    ) -> None:
        self._bucket: Bucket = server.make_bucket()
        self._proxy, self._address, self._names = proxy, address, sorted(images)
        for name, data in images.items():
            self._bucket.write(f"images/{name}", data)
        self._given, self._undisturbed = f"{self._bucket.uri}/images", f"{self._bucket.uri}/undisturbed"
        if annotate(self._given, self._undisturbed) != 0:
            raise SystemExit("the undisturbed run failed")

    def disturbed_run(self, found: Campaign, chance: random.Random, kills: int, storage_faults: int) -> None:
        """Runs until complete, however often the driver is killed; adds up what became of it."""
        output = f"{self._bucket.uri}/out{found.runs}"
        found.runs += 1
        before = len(self._proxy.struck())
        for _ in range(storage_faults):
            self._add_fault(chance)
        victims = chance.choices(["driver", "worker"], weights=[1, 2], k=kills)
        faults: Counter[str] = Counter()
        code = -1
        for _ in range(_STARTS_PER_RUN):
            found.starts += 1
            code = self._start(output, victims, chance, faults)
            if code == 0:
                break
        faults.update(f"storage: {kind}" for kind in self._proxy.struck()[before:])
        self._proxy.heal()
        found.faults = dict(sorted((Counter(found.faults) + faults).items()))
        found.complete += code == 0
        self._count(output, found)

    def _add_fault(self, chance: random.Random) -> None:
        method = chance.choice(["GET", "PUT"])
        kind = chance.choice(_GETS if method == "GET" else _PUTS)
        path = _IMAGES if method == "GET" else _RESULTS
        self._proxy.add(kind, method=method, path=path, seconds=chance.uniform(0.2, 2), after_bytes=20)

    def _start(self, output: str, victims: list[str], chance: random.Random, faults: Counter[str]) -> int:
        driver = start_driver(self._given, output, self._address)
        over = threading.Event()
        killer = threading.Thread(target=self._kill, args=(driver, output, victims, chance, faults, over))
        killer.start()
        try:
            driver.communicate(timeout=_LONGEST_START_S)
        finally:
            over.set()
            killer.join()
            driver.kill()
        return driver.returncode

    def _kill(
        self,
        driver: subprocess.Popen[str],
        output: str,
        victims: list[str],
        chance: random.Random,
        faults: Counter[str],
        over: threading.Event,
    ) -> None:
        """After each further unit, and a moment more, the next victim."""
        seen = self._units(output)
        while victims and driver.returncode is None and not over.wait(0.05):
            units = self._units(output)
            if units == seen or over.wait(chance.uniform(0, 0.5)) or driver.returncode is not None:
                continue
            workers = worker_pids("ray::Map") + worker_pids("ray::AttemptLedger")
            pid = driver.pid if victims[0] == "driver" else chance.choice(sorted(workers) or [0])
            if pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    faults[f"{victims.pop(0)} killed"] += 1
                seen = units

    def _units(self, output: str) -> int:
        prefix = f"{output.removeprefix(self._bucket.uri + '/')}/units/"
        return sum(key.startswith(prefix) for key in list(self._bucket.keys()))

    def _count(self, output: str, found: Campaign) -> None:
        images = table(output, "images")
        seen = Counter(images["image_key"].to_pylist())
        found.images_in += len(self._names)
        found.lost += sum(seen[name] == 0 for name in self._names)
        found.doubled += sum(times - 1 for times in seen.values())
        statuses = Counter(images["status"].to_pylist())
        found.failed_otherwise += len(images) - statuses["ok"] - statuses["unsupported"]
        try:
            require_same_tables(output, self._undisturbed)
        except AssertionError as error:
            found.tables_different += 1
            print(error, flush=True)


if __name__ == "__main__":
    main()
