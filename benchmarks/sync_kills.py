"""Syncs killed fifty times at random: in planning, in units, between the two tables, while cleaning, while replacing.

A bucket changes at random; a sync follows in a process of its own, which kills itself (SIGKILL) before or after a
random one of its writes, mostly of a phase that is drawn first, and is started again until one comes through. Every
seventh time the network is replaced instead. Everything is the real thing but the network, which does nothing. All the
while another process reads both tables by their Delta logs, and the pair that `_SUCCESS.json` names: what it sees must
be a state that the model of the bucket had, whole. The tables at the end of each round must be those of an undisturbed
sync.

    python benchmarks/sync_kills.py
    python benchmarks/sync_kills.py --store moto        # or ceph: one that tests/support/ceph.py starts
    python benchmarks/sync_kills.py --store moto --ray  # the stages on a Ray cluster of this machine

Needs the development extras, whose test support it shares.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.standing import picture  # noqa: E402

from benchmarks.machine import machine, store  # noqa: E402
from benchmarks.sync_kills_processes import PHASES, Attempt, persons_of, run_attempt, watch  # noqa: E402
from benchmarks.sync_kills_site import started_ray, started_store  # noqa: E402
from pipeline.output.run_output import RunOutput  # noqa: E402
from pipeline.storage import Storage  # noqa: E402

State = list[tuple[str, int]]
"""Address and persons of every image, in order."""


@dataclass
class World:
    """The bucket, and what came of the kills."""

    folder: Path
    uri: str
    ray: str | None
    processes: Any
    chance: random.Random
    objects: dict[str, bytes] = field(default_factory=dict)
    network: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    wrong: int = 0

    @property
    def given(self) -> str:
        return f"{self.uri}/in"

    @property
    def output(self) -> str:
        return f"{self.uri}/out"

    @property
    def states(self) -> Path:
        return self.folder / "states.json"

    def change(self) -> None:
        for _ in range(self.chance.randint(1, 5)):
            key = f"{self.chance.choice('abc')}/{self.chance.randint(0, 30):02d}.png"
            if key in self.objects and self.chance.random() < 0.4 and len(self.objects) > 3:
                del self.objects[key]
                Storage().delete(f"{self.given}/{key}")
            else:
                self.objects[key] = picture(self.chance.randint(0, 999))
                Storage().put(f"{self.given}/{key}", self.objects[key])

    def state(self, network: int) -> State:
        return sorted(
            (f"{self.given}/{key}", persons_of(data, network, on_ray=self.ray is not None))
            for key, data in self.objects.items()
        )

    def tell(self, states: list[State]) -> None:
        """States that readers may see from now on."""
        new = self.states.with_suffix(".new")
        new.write_text(json.dumps(states))
        new.rename(self.states)

    def work(self, replaces: bool, kill_at: int, among: str = "") -> bool:
        """One attempt in a process of its own; whether it came through."""
        attempt = Attempt(
            given=self.given,
            output=self.output,
            network=self.network,
            replaces=replaces,
            kill_at=kill_at,
            among=among,
            after=self.chance.random() < 0.5,
            note=str(self.folder / "killed"),
            log=str(self.folder / "log"),
            address=self.ray,
        )
        process = self.processes.Process(target=run_attempt, args=(attempt,))
        process.start()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            self.kills[Path(attempt.note).read_text()] += 1
            return False
        assert process.exitcode == 0, Path(attempt.log).read_text()[-4000:]
        return True

    def judge(self) -> None:
        images = RunOutput.at(self.output, Storage()).rows().images()
        found = sorted((image.uri, len(image.poses or ())) for image in images)
        wanted = self.state(self.network)
        uris = Counter(uri for uri, _ in found)
        self.lost += len({uri for uri, _ in wanted} - uris.keys())
        self.doubled += sum(count - 1 for count in uris.values())
        self.wrong += found != wanted

    def round(self, number: int) -> None:
        """The bucket changes, or the network does, and attempts follow until one comes through."""
        replaces = number % 7 == 0
        old = self.state(self.network)
        if not replaces:
            self.change()
        self.tell([old, self.state(self.network + replaces)])
        while True:
            # At any write, or in a phase; most writes are files of the tables.
            among = self.chance.choice(["", *PHASES])
            if self.work(replaces, self.chance.randint(1, 30 if not among else 3), among):
                break
        if replaces:
            self.network += 1
            # It may have been killed after the switch, with the old network's things still there.
            assert self.work(False, 0)
        self.judge()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", choices=("disk", "moto", "ceph"), default="disk")
    parser.add_argument("--ray", action="store_true", help="annotate on a Ray cluster of this machine")
    parser.add_argument("--result", help="name of the stored result")
    arguments = parser.parse_args()
    # Before any process of it: Ray's workers import the network from here.
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    with ExitStack() as site:
        folder = Path(site.enter_context(tempfile.TemporaryDirectory(prefix="posrefine-kills-")))
        environment, uri = site.enter_context(started_store(arguments.store, folder))
        os.environ |= environment
        ray = site.enter_context(started_ray()) if arguments.ray else None
        processes = multiprocessing.get_context("forkserver")
        processes.set_forkserver_preload(["benchmarks.sync_kills_processes"])
        world = World(folder, uri, ray, processes, random.Random(arguments.seed))
        rounds, watched = campaign(world, arguments.kills)
    name = "_".join(
        ["sync_kills", *([] if arguments.store == "disk" else [arguments.store]), *(["ray"] * arguments.ray)]
    )
    store(
        arguments.result or name,
        {
            "machine": machine(("pyarrow", "deltalake", "ray")),
            "store": arguments.store,
            "on_ray": arguments.ray,
            "seed": arguments.seed,
            "kills": world.kills.total(),
            "kills_by_phase": dict(world.kills.most_common()),
            "rounds": rounds,
            "networks_replaced": world.network,
            "lost": world.lost,
            "doubled": world.doubled,
            "rounds_with_other_rows_than_an_undisturbed_sync": world.wrong,
            **watched,
        },
    )


def campaign(world: World, kills: int) -> tuple[int, dict[str, Any]]:
    """Rounds until there were so many kills; their number, and what the reader saw."""
    for _ in range(4):
        world.change()
    world.tell([world.state(0)])
    assert world.work(False, 0)
    seen, rounds = world.folder / "seen.json", 0
    watcher = world.processes.Process(target=watch, args=(world.output, world.states, seen))
    watcher.start()
    try:
        while world.kills.total() < kills:
            rounds += 1
            world.round(rounds)
            print(rounds, dict(world.kills), world.lost, world.doubled, world.wrong, flush=True)
        while not seen.exists():
            time.sleep(0.1)
    finally:
        watcher.kill()
        watcher.join()
    return rounds, json.loads(seen.read_text())


if __name__ == "__main__":
    main()
