"""Syncs killed fifty times at random: in planning, in units, between the two tables, while cleaning, while replacing.

A bucket changes at random; a sync follows in a process of its own, which kills itself (SIGKILL) before or after a
random one of its writes, mostly of a phase that is drawn first, and is started again until one comes through. Every seventh time the network is replaced
instead. Everything is the real thing but the network, which does nothing and needs no Ray. All the while another
process reads both tables by their Delta logs, and the pair that `_SUCCESS.json` names: what it sees must be a state
that the model of the bucket had, whole. The tables at the end of each round must be those of an undisturbed sync.

    python benchmarks/sync_kills.py
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machine import machine, store

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.standing import Standing, persons_in, picture  # noqa: E402

from pipeline.output.run_output import RunOutput  # noqa: E402
from pipeline.storage import Storage, StorageOptions  # noqa: E402
from posrefine.errors import PosRefineError  # noqa: E402

_DELETED = "?deleted"
PHASES = (
    *("planning", "units", "files of the tables", "log of images", "log of persons", "the switch"),
    *("files kept for older generations", "cleaning", "outcome"),
)

State = list[tuple[str, int]]
"""Address and persons of every image, in order."""


class DyingStorage(Storage):
    """Kills its process before or after the write of that number."""

    left = 0
    among = ""
    after = False
    last = ""
    output = ""

    def _dying(self, uri: str, write: Any) -> Any:
        cls = DyingStorage
        kind = phase(uri, cls.output)
        cls.left -= cls.among in ("", kind)
        if cls.left == 0:
            Path(cls.last).write_text(kind)
            if cls.after:
                write()
            os.kill(os.getpid(), signal.SIGKILL)
        return write()

    def put(self, uri: str, data: bytes) -> None:
        self._dying(uri, lambda: Storage.put(self, uri, data))

    def create(self, uri: str, data: bytes) -> str:
        return self._dying(uri, lambda: Storage.create(self, uri, data))

    def create_file(self, uri: str, path: Path) -> None:
        self._dying(uri, lambda: Storage.create_file(self, uri, path))

    def replace(self, uri: str, data: bytes, etag: str) -> str:
        return self._dying(uri, lambda: Storage.replace(self, uri, data, etag))

    def delete(self, uri: str) -> None:
        self._dying(f"{uri}{_DELETED}", lambda: Storage.delete(self, uri))


@dataclass
class World:
    """The bucket, and what came of the kills."""

    folder: Path
    chance: random.Random
    objects: dict[str, bytes] = field(default_factory=dict)
    network: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    doubled: int = 0
    wrong: int = 0

    def change(self) -> None:
        for _ in range(self.chance.randint(1, 5)):
            key = f"{self.chance.choice('abc')}/{self.chance.randint(0, 30):02d}.png"
            if key in self.objects and self.chance.random() < 0.4 and len(self.objects) > 3:
                del self.objects[key]
                (self.folder / "in" / key).unlink()
            else:
                self.objects[key] = picture(self.chance.randint(0, 999))
                path = self.folder / "in" / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.objects[key])

    def state(self, network: int) -> State:
        return sorted(
            (f"{self.folder}/in/{key}", persons_in(data, network)) for key, data in self.objects.items()
        )

    def standing(self, storage: Storage) -> Standing:
        return Standing(storage, f"{self.folder}/in", f"{self.folder}/out", network=self.network)

    def work(self, replaces: bool, kill_at: int, among: str = "") -> bool:
        """One attempt in a process of its own; whether it came through."""
        pid = os.fork()
        if pid == 0:
            DyingStorage.left, DyingStorage.among = kill_at, among
            DyingStorage.after, DyingStorage.last = self.chance.random() < 0.5, str(self.folder / "killed")
            DyingStorage.output = str(self.folder / "out")
            standing = self.standing(DyingStorage(StorageOptions()))
            try:
                standing.replace(self.network + 1) if replaces else standing.sync()
                os._exit(0)
            except BaseException as error:  # noqa: BLE001 - told by the parent
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
        _, status = os.waitpid(pid, 0)
        if os.WIFSIGNALED(status):
            self.kills[(self.folder / "killed").read_text()] += 1
            return False
        assert os.WEXITSTATUS(status) == 0
        return True

    def judge(self) -> None:
        found = [(uri, persons) for uri, _, persons in self.standing(Storage()).rows()]
        wanted = self.state(self.network)
        uris = Counter(uri for uri, _ in found)
        self.lost += len({uri for uri, _ in wanted} - uris.keys())
        self.doubled += sum(count - 1 for count in uris.values())
        self.wrong += found != wanted


def phase(uri: str, output: str) -> str:
    """What a write belongs to, in words."""
    path = uri.removeprefix(output).lstrip("/")
    if path.endswith(_DELETED) and "lock" not in path:
        return "cleaning"
    beside = "replacing: " if path.startswith("networks/") else ""
    path = path.split("/", 2)[2] if beside else path
    for words, mark in (
        ("lock", "lock.json"),
        ("log of images", "images/_delta_log"),
        ("log of persons", "persons/_delta_log"),
        ("files kept for older generations", "_replaced"),
        ("the switch", "_SUCCESS"),
        ("files of the tables", "tables/"),
        ("units", "units/"),
        ("outcome", "outcome"),
    ):
        if mark in path:
            return beside + words
    return beside + "planning"


def watch(folder: Path, seen: Path) -> None:
    """Read the tables for ever; each reading that is no state of the file `states.json` is told in `seen`."""
    from deltalake import DeltaTable

    readings, mixed = Counter[str](), Counter[str]()
    output, storage = f"{folder}/out", Storage()
    while True:
        before = json.loads((folder / "states.json").read_text())
        for name in ("images", "persons", "pair"):
            try:
                if name == "pair":
                    images = RunOutput.at(output, storage).rows().images()
                    found = sorted((image.uri, len(image.poses or ())) for image in images)
                else:
                    rows = DeltaTable(f"{output}/tables/{name}").to_pyarrow_table(columns=["uri"])
                    counts = Counter(rows["uri"].to_pylist())
                    found = sorted(counts.items())
            except (PosRefineError, OSError, Exception) as error:  # noqa: BLE001
                # The grace time of this campaign is none: what was replaced may be gone while it is read.
                readings[f"{name}: {type(error).__name__}"] += 1
                continue
            after = json.loads((folder / "states.json").read_text())
            readings[name] += 1
            mixed[name] += not any(as_read(state, name) == found for state in before + after)
        text = json.dumps({"readings": readings, "mixed": mixed})
        seen.with_suffix(".new").write_text(text)
        seen.with_suffix(".new").rename(seen)
        time.sleep(0.05)


def as_read(state: list[list[Any]], name: str) -> list[tuple[str, int]]:
    if name == "images":
        return [(uri, 1) for uri, _ in state]
    return [(uri, persons) for uri, persons in state if persons or name == "pair"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance, rounds = random.Random(arguments.seed), 0
    with tempfile.TemporaryDirectory(prefix="posrefine-kills-") as temporary:
        world = World(Path(temporary), chance)
        for _ in range(4):
            world.change()
        tell(world, [world.state(0)])
        assert world.work(False, 0)
        seen = world.folder / "seen.json"
        watcher = os.fork()
        if watcher == 0:
            watch(world.folder, seen)
        try:
            while world.kills.total() < arguments.kills:
                rounds += 1
                replaces = rounds % 7 == 0
                old = world.state(world.network)
                if not replaces:
                    world.change()
                tell(world, [old, world.state(world.network + replaces)])
                while True:
                    # At any write, or in a phase; most writes are files of the tables.
                    among = chance.choice(["", *PHASES])
                    if world.work(replaces, chance.randint(1, 30 if not among else 3), among):
                        break
                if replaces:
                    world.network += 1
                    # It may have been killed after the switch, with the old network's things still there.
                    assert world.work(False, 0)
                world.judge()
                print(rounds, dict(world.kills), world.lost, world.doubled, world.wrong, flush=True)
        finally:
            time.sleep(1)
            os.kill(watcher, signal.SIGKILL)
            os.waitpid(watcher, 0)
        watched = json.loads(seen.read_text())
    result = {
        "machine": machine(("pyarrow", "deltalake")),
        "seed": arguments.seed,
        "kills": world.kills.total(),
        "kills_by_phase": dict(world.kills.most_common()),
        "rounds": rounds,
        "networks_replaced": world.network,
        "lost": world.lost,
        "doubled": world.doubled,
        "rounds_with_other_rows_than_an_undisturbed_sync": world.wrong,
        **watched,
    }
    print(json.dumps(result, indent=2))
    store("sync_kills", result)


def tell(world: World, states: list[State]) -> None:
    """States that readers may see from now on."""
    new = world.folder / "states.new"
    new.write_text(json.dumps(states))
    new.rename(world.folder / "states.json")


if __name__ == "__main__":
    main()
