"""A campaign of faults: runs on a store that misbehaves, whose processes are killed, stopped and continued.

In each run drivers are struck one after the other, at puts chosen by chance; then the run is completed, images
are repaired and tried again, whoever still sleeps is woken, and every row of the tables is compared with what
an undisturbed run makes of that image as it is now. Most runs work in their driver alone; every few, on Ray,
where workers, raylet and control service are killed too, and images kill and want too much memory.

Needs the development extras, whose test support it shares. Stores its result after each run and goes on from
there: `python benchmarks/faults.py --runs 104`, again and again.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
# Also for the server that forks the drivers, which imports this script, but not from its folder.
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests"), str(REPOSITORY / "benchmarks")]

from fault_run import DisturbedRun  # noqa: E402
from fault_site import started_site  # noqa: E402
from machine import RESULTS, machine, store  # noqa: E402


@dataclass
class Campaign:
    """What was done, and what became of the images."""

    runs: int = 0
    on_ray: int = 0
    complete: int = 0
    given_up: int = 0
    starts: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    images_in: int = 0
    lost: int = 0
    doubled: int = 0
    stale: int = 0
    innocents: int = 0
    minutes: float = 0.0
    numbers: list[int] = field(default_factory=list)

    def add(self, run: DisturbedRun, number: int) -> None:
        """Count what became of a run; one that was given up is none, and is run anew by the next slice."""
        if run.given_up:
            self.given_up += 1
            return
        self.numbers.append(number)
        self.runs += 1
        self.on_ray += run.on_ray
        self.complete += run.complete
        self.starts += run.starts
        self.images_in += len(run.wanted)
        for name in ("lost", "doubled", "stale", "innocents"):
            setattr(self, name, getattr(self, name) + getattr(run, name))
        self.faults = dict(sorted((Counter(self.faults) + run.faults).items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=104, help="of the whole campaign")
    parser.add_argument("--minutes", type=float, default=60.0, help="no run is begun after so long")
    parser.add_argument("--at-once", type=int, default=8, help="runs at the same time, beside those on Ray")
    parser.add_argument("--ray-every", type=int, default=34, help="one of so many runs is on Ray")
    parser.add_argument("--storage-faults", type=int, default=4, help="added before each start")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began, stored = time.monotonic(), RESULTS / "faults.json"
    settings = {"seed": given.seed, "storage_faults": given.storage_faults, "ray_every": given.ray_every}
    found = _earlier(stored, settings)
    earlier_minutes, lock = found.minutes, threading.Lock()
    waiting = sorted(set(range(given.runs)) - set(found.numbers))
    with started_site(given.storage_faults) as site:

        def work(*, on_ray: bool) -> None:
            while time.monotonic() - began < given.minutes * 60:
                with lock:
                    fitting = [number for number in waiting if _is_on_ray(number, given.ray_every) == on_ray]
                    if not fitting:
                        return
                    waiting.remove(number := fitting[0])
                if on_ray:
                    # Where no cluster can be started, nothing was begun that could be counted.
                    site.cluster()
                run = DisturbedRun(site, number, random.Random(f"{given.seed}/{number}"))
                run.go(on_ray=on_ray)
                with lock:
                    found.add(run, number)
                    found.faults = dict(sorted((Counter(found.faults) + site.storage_faults()).items()))
                    found.minutes = round(earlier_minutes + (time.monotonic() - began) / 60, 1)
                    head = {"machine": machine(("ray", "s3fs", "moto", "torch")), "settings": settings}
                    store("faults", head | asdict(found))

        with ThreadPoolExecutor() as pool, site:
            workers = [pool.submit(work, on_ray=False) for _ in range(given.at_once)]
            # Ray starts its processes in the main thread only.
            work(on_ray=True)
            for worker in workers:
                worker.result()


def _is_on_ray(number: int, ray_every: int) -> bool:
    return number % ray_every == ray_every // 2


def _earlier(stored: Path, settings: dict[str, int]) -> Campaign:
    """What earlier slices of the same campaign found."""
    result: dict[str, Any] = json.loads(stored.read_text()) if stored.exists() else {}
    if result.get("settings") != settings:
        return Campaign()
    return Campaign(**{name: result[name] for name in asdict(Campaign())})


if __name__ == "__main__":
    main()
