"""A cluster that begins without machines, grows, loses half of them in mid-run and grows again.

On Ray's own autoscaler and made-up machines: `python -m pytest benchmarks/machines_that_come_and_go.py`, minutes, and not
beside anything else.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import ray
from support.annotation import SETTINGS, require_whole_objects, table, write_images
from support.autoscaler import Autoscaled, started_autoscaler
from support.images import encode, gradient
from support.ticket_network import TicketOffice

from pipeline.driver.run import run
from pipeline.settings.run import RunSettings
from pipeline.settings.sources import load_settings

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")]

MACHINES = 4
IMAGES = {f"{index:03d}.png": encode(gradient(64 + index % 7, 64), "PNG") for index in range(60)}
LONGEST_WAIT_S = 600


@pytest.fixture
def autoscaled(monkeypatch: pytest.MonkeyPatch) -> Iterator[Autoscaled]:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with started_autoscaler(most=MACHINES) as cluster:
        ray.init(cluster.address, log_to_driver=False)
        try:
            yield cluster
        finally:
            ray.shutdown()


def wait_until(what: Callable[[], bool], over: threading.Event) -> None:
    deadline = time.monotonic() + LONGEST_WAIT_S
    while not what():
        if over.wait(0.2) or time.monotonic() > deadline:
            raise AssertionError("it never came so far")


def test_machines_that_come_are_used_and_those_that_go_cost_no_image(
    autoscaled: Autoscaled, tmp_path: Path
) -> None:
    given, output = write_images(tmp_path / "images", IMAGES), tmp_path / "out"
    office = TicketOffice(tmp_path / "office")
    over, lost, told = threading.Event(), set[str](), list[BaseException]()

    def disturb() -> None:
        # Every actor comes to ask for a ticket, and none is idle until all are given.
        office.give(8)
        wait_until(lambda: len(office.machines()) == MACHINES, over)
        wait_until(lambda: len(list(output.glob("units/*.parquet"))) >= 4, over)
        lost.update(sorted(autoscaled.machines())[: MACHINES // 2])
        for machine in lost:
            autoscaled.kill(machine)
        wait_until(lambda: len((office.machines() & autoscaled.machines()) - lost) == MACHINES, over)

    def disturb_and_open() -> None:
        try:
            disturb()
        except BaseException as error:  # noqa: BLE001 - told where the test ends
            told.append(error)
        office.open()

    assert not autoscaled.machines()
    disturber = threading.Thread(target=disturb_and_open)
    disturber.start()
    named = dict(zip(SETTINGS[::2], SETTINGS[1::2], strict=True))
    settings = {name.removeprefix("--").replace("-", "_"): value for name, value in named.items()}
    settings |= {"input": given, "output": str(output), "unit_images": 1, "max_actors": MACHINES}
    try:
        outcome = run(load_settings(RunSettings, settings), load=office.network())
    finally:
        over.set()
        disturber.join()

    assert not told
    assert outcome.exit_code == 0
    assert len(office.machines()) == MACHINES + len(lost)
    assert require_whole_objects(str(output)) == len(IMAGES)
    assert sorted(table(str(output), "images")["image_key"].to_pylist()) == sorted(IMAGES)
