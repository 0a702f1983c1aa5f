"""One run of a campaign of faults: its drivers are struck, it is completed, and its tables are looked at."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
import traceback
from collections import Counter
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

from fault_input import HOSTILE, REPAIRED, repaired, some_input
from fault_rows import COMPLETE, Row, rows_of, wanted_rows
from fault_site import Site
from ray.cluster_utils import Cluster
from support.faultproxy import Kind
from support.ray_cluster import worker_pids

__all__ = ["DisturbedRun"]

_LOCKED = 5
_LONGEST_S = 900.0
_GETS: tuple[Kind, ...] = ("503", "reset", "hang", "slow", "reset_body", "short_body", "flip")
_PUTS: tuple[Kind, ...] = ("503", "409", "reset", "slow", "lost_reply")
_PLACES = (
    *(r"lock\.json", r"manifest-", r"run\.json", r"units/u00000000", r"units/u00000003"),
    *(r"tables/images/part-g0001-00000", r"tables/persons/part-g0001-00001", r"tables/images/_delta_log"),
    *(r"_SUCCESS", r"outcome\.json"),
)
# Two of these strike each run on Ray; the first ones have it lose the cluster.
_ON_RAY = ("raylet", "gcs_server", "workers", "workers", "driver")


class _TimeIsUp(Exception):
    """The campaign gives a run up, as on a machine too busy to start Ray's processes."""


class DisturbedRun:
    """A run from its first driver, which is struck, to tables that are looked at."""

    def __init__(self, site: Site, number: int, chance: random.Random) -> None:
        self._site, self._number, self._chance = site, number, chance
        self._bucket, self._name = site.bucket, f"out{number:04d}"
        self._given, self._output = f"{site.bucket.uri}/in{number:04d}", f"{site.bucket.uri}/{self._name}"
        self._prefix, self._address = f"in{number:04d}", None
        self.on_ray, self.complete, self.given_up, self.starts = False, False, False, 0
        self.faults: Counter[str] = Counter()
        self.wanted: dict[str, Row] = {}
        self.lost = self.doubled = self.stale = self.innocents = 0
        self._asleep: list[BaseProcess] = []
        self._more = ""

    def go(self, *, on_ray: bool) -> None:
        """All of it; says what went wrong."""
        self.on_ray = on_ray
        self._more = ("killers", "hungry", "")[self._number % 3] if on_ray else ""
        given = some_input(self._more)
        for name, data in given.items():
            self._bucket.write(f"{self._prefix}/{name}", data)
        self.faults["hostile file"] += sum(name in HOSTILE for name in given)
        try:
            if on_ray:
                self._on_ray()
            else:
                self._disturb("run", times=self._chance.choice([1, 1, 2]))
            self._complete("run")
            self._repair()
            self._disturb("retry-failed", times=1)
            self._complete("retry-failed")
            while self._asleep:
                self._wake()
            # What sleepers put last is in nothing that is published, and the next command takes it away.
            self._look(published=True)
            self._complete("run")
            self.complete = True
        except _TimeIsUp as error:
            self.given_up = True
            print(f"{self._name}: given up: {error}", flush=True)
        except Exception:  # noqa: BLE001 - a run that is not complete is counted as that
            print(f"{self._name}: {traceback.format_exc()}", flush=True)
        finally:
            for driver in self._asleep:
                driver.kill()
            self._site.proxy.heal_path(self._name)
        if not self.given_up:
            self._look()

    # Disturbing.

    def _disturb(self, command: str, times: int) -> None:
        for _ in range(times):
            move = self._chance.choices(["kill", "stop", "two"], [3, 4, 1])[0]
            if move == "two":
                both = [self._start(command), self._start(command)]
                self.faults["two drivers at once"] += 1
                for driver in both:
                    self._wait(driver)
                continue
            moment = self._chance.choice(["before", "after"])
            when = f"{'stop-' if move == 'stop' else ''}{moment}:{self._chance.choice(_PLACES)}"
            driver = self._start(command, when)
            if self._wait(driver) == "T":
                self.faults["driver stopped and continued"] += 1
                self._asleep.append(driver)
            self.faults["driver killed"] += driver.exitcode == -signal.SIGKILL
            if self._asleep and self._chance.random() < 0.3:
                self._wake()

    def _wake(self) -> None:
        driver = self._asleep.pop(self._chance.randrange(len(self._asleep)))
        # One that was stopped at a create may stop once more, at a replace.
        while driver.exitcode is None and self._wait(driver) == "T":
            os.kill(driver.pid, signal.SIGCONT)  # type: ignore[arg-type]
            time.sleep(0.2)

    def _start(self, command: str, when: str = "never") -> BaseProcess:
        for _ in range(self._site.faults_per_start):
            method = self._chance.choice(["GET", "PUT"])
            kind = self._chance.choice(_GETS if method == "GET" else _PUTS)
            # Moto sends checksums of whole objects only; a range whose byte is flipped is nobody's to find out.
            name = rf"{self._prefix}/.*(png|jpg)" if kind == "flip" else f"({self._prefix}|{self._name})/"
            self._site.proxy.add(
                kind, method=method, path=name, seconds=self._chance.uniform(0.2, 1), after_bytes=20
            )
        self.starts += 1
        return self._site.start(command, self._given, self._output, self._address, when)

    def _wait(self, driver: BaseProcess) -> str:
        """Until it has ended (empty) or stopped itself (`T`)."""
        until = time.monotonic() + _LONGEST_S
        while driver.exitcode is None:
            if _state(driver.pid) == "T":
                return "T"
            if time.monotonic() > until:
                driver.kill()
                raise _TimeIsUp("a driver did not end")
            time.sleep(0.05)
        return ""

    def _complete(self, command: str) -> None:
        until = time.monotonic() + _LONGEST_S
        while True:
            driver = self._start(command)
            self._wait(driver)
            if driver.exitcode in COMPLETE:
                return
            self.starts -= driver.exitcode == _LOCKED
            if time.monotonic() > until:
                raise _TimeIsUp(f"{command} ends with {driver.exitcode} again and again")
            time.sleep(0.5)

    def _repair(self) -> None:
        for name, data in repaired().items():
            self._bucket.write(f"{self._prefix}/{name}", data)

    def _on_ray(self) -> None:
        for strike in self._chance.sample(_ON_RAY, 2):
            cluster = self._site.cluster()
            self._address = cluster.address
            driver = self._start("run")
            struck = threading.Thread(target=self._strike, args=(strike, cluster, driver))
            struck.start()
            self._wait(driver)
            struck.join()
            if strike in ("raylet", "gcs_server"):
                self._site.drop_cluster()
        self._address = self._site.cluster().address
        self._complete("run")
        self.faults["killed for memory"] += 2 * (self._more == "hungry")

    def _strike(self, what: str, cluster: Cluster, driver: BaseProcess) -> None:
        """Kill something whenever a further unit is there."""
        done, left = self._units(), 4 if what == "workers" else 1
        while left and driver.exitcode is None:
            time.sleep(0.05)
            if self._units() == done:
                continue
            done = self._units()
            time.sleep(self._chance.uniform(0, 0.3))
            if what == "driver":
                pids = [driver.pid]
            elif what == "workers":
                pids = sorted(worker_pids("ray::Map") + worker_pids("ray::AttemptLedger"))
            else:
                pids = [process.process.pid for process in cluster.head_node.all_processes[what]]
            if not pids:
                continue
            with suppress(ProcessLookupError):
                os.kill(self._chance.choice(pids), signal.SIGKILL)  # type: ignore[arg-type]
                name = {"workers": "worker", "gcs_server": "GCS"}.get(what, what)
                self.faults[f"{name} killed"] += 1
                left -= 1

    def _units(self) -> int:
        return len(
            self._bucket.client.list_objects_v2(Bucket=self._bucket.name, Prefix=f"{self._name}/units/").get(
                "Contents", []
            )
        )

    # Looking at what is left.

    def _look(self, *, published: bool = False) -> None:
        self.wanted = wanted_rows(self._site, self._more)
        found = rows_of(self._bucket, self._name, published=published)
        times = Counter(key for key, _ in found)
        self.lost += sum(times[key] == 0 for key in self.wanted)
        self.doubled += sum(count - 1 for count in times.values()) + len(times.keys() - self.wanted.keys())
        for key, row in found:
            wanted = self.wanted.get(key)
            if row != wanted:
                blamed = wanted is not None and wanted[0] == "ok" and row[0] != "ok" and key not in REPAIRED
                self.innocents += blamed
                self.stale += not blamed
                print(f"{self._name}: {key}: {row}; wanted {wanted}", flush=True)
        if self.complete:
            outcome = json.loads(self._bucket.read(f"{self._name}/outcome.json"))
            counts = json.loads(self._bucket.read(f"{self._name}/tables/_SUCCESS.json"))
            if not outcome["complete"] or counts["images"] != len(self.wanted):
                self.stale += 1
                print(f"{self._name}: outcome {outcome}; counts {counts}", flush=True)


def _state(pid: int | None) -> str:
    with suppress(FileNotFoundError, ProcessLookupError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""
