"""A machine of the cluster goes away in mid-run; the tables are afterwards what an undisturbed run gives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.annotation import annotate, require_same_tables, some_images, write_images
from support.ray_cluster import TwoMachines, started_machines

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")]


@pytest.fixture(scope="module")
def machines() -> Iterator[TwoMachines]:
    with started_machines() as machines:
        yield machines


def test_a_machine_killed_in_mid_run_costs_no_image(machines: TwoMachines, tmp_path: Path):
    given = write_images(tmp_path / "images", some_images(40))
    output, undisturbed = str(tmp_path / "out"), str(tmp_path / "undisturbed")
    over, lost = threading.Event(), []

    def kill() -> None:
        while not over.wait(0.02):
            # Both machines are at work.
            if len(list(Path(output).glob("units/*.parquet"))) >= 2 and machines.has_second("InferenceActor"):
                lost.extend(machines.kill_second())
                return

    killer = threading.Thread(target=kill)
    killer.start()
    code = annotate(given, output)
    over.set()
    killer.join()

    assert code == 0
    assert any("InferenceActor" in title for title in lost), f"nothing was lost with the machine: {lost}"
    assert annotate(given, undisturbed) == 0
    require_same_tables(output, undisturbed)
