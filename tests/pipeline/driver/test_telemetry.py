"""Numbers of a run: counted from receipts, shown as metrics and as a line."""

from __future__ import annotations

import io
import re
import socket
import sys
import threading
import urllib.request
from dataclasses import replace

import pytest
from prometheus_client import generate_latest
from support.ports import free_port
from support.receipts import RECEIPT

from pipeline.driver.progress import progress_line, show_progress
from pipeline.driver.telemetry import Telemetry
from pipeline.stages.receipt import Receipt
from posrefine.errors import ConfigurationError


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_units_that_were_begun_earlier_are_not_taken_for_more_than_full_speed():
    clock = Clock()
    telemetry = Telemetry(units_total=2, units_done=0, processors=1, clock=clock)
    clock.now += 10
    # Short, and so the first to come; the other one was begun before it.
    telemetry.receive(replace(RECEIPT, load_s=0.0, infer_s=1.0, busy_s=1.0, commit_s=0.0))
    telemetry.receive(replace(RECEIPT, load_s=0.0, infer_s=8.0, busy_s=8.0, commit_s=0.0))
    tally = telemetry.tally()
    assert tally.startup_s == pytest.approx(2)
    assert tally.efficiency == 1.0


def test_what_came_before_the_first_processor_was_there_is_start_up():
    clock = Clock()
    telemetry = Telemetry(units_total=1, units_done=0, processors=1, clock=clock, began_s=clock.now - 20)
    clock.now += 5
    telemetry.receive(replace(RECEIPT, load_s=0.0, infer_s=2.0, busy_s=2.0, commit_s=0.0))
    tally = telemetry.tally()
    assert (tally.elapsed_s, tally.startup_s) == (pytest.approx(25), pytest.approx(23))
    assert tally.images_per_s == pytest.approx(tally.images_done / 25)


def test_receipts_come_back_from_their_table():
    assert list(Receipt.from_table(RECEIPT.to_table())) == [RECEIPT]


def test_speed_time_left_and_efficiency_follow_from_the_receipts():
    clock = Clock()
    telemetry = Telemetry(units_total=10, units_done=4, processors=2, clock=clock)
    clock.now += 14.5
    telemetry.receive(RECEIPT)
    clock.now += 5.5
    telemetry.receive(RECEIPT)
    tally = telemetry.tally()
    assert (tally.units_done, tally.units_total, tally.images_done, tally.images_failed) == (6, 10, 20, 2)
    assert tally.images_per_s == pytest.approx(1.0)
    # The first receipt tells of 4.5 s of work, so the first 10 s were start-up.
    assert tally.startup_s == pytest.approx(10.0)
    assert tally.remaining_s == pytest.approx(20.0)
    # 9 images take a core 2 s of its time: two could have done 90 in these 10 s; 18 were done.
    assert tally.bare_images_per_s == pytest.approx(9.0)
    assert tally.efficiency == pytest.approx(18 / 90)
    assert tally.stage_seconds == {"load": 2.0, "infer": 6.0, "predictor": 5.0, "commit": 1.0}


def test_efficiency_follows_the_machines_that_came_and_went():
    clock = Clock()
    telemetry = Telemetry(units_total=10, units_done=0, processors=1, clock=clock)
    clock.now += 10
    telemetry.see_processors(1)
    clock.now += 10
    telemetry.see_processors(5)
    clock.now += 10
    telemetry.see_processors(5)
    # The first receipt tells of all 30 seconds: of ten with one core, and of twenty with five.
    telemetry.receive(replace(RECEIPT, load_s=0.0, infer_s=30.0, busy_s=22.0, commit_s=0.0))
    tally = telemetry.tally()
    assert tally.efficiency == pytest.approx(22 / (10 * 1 + 20 * 5))
    assert tally.bare_images_per_s == pytest.approx(9 / 22 * 110 / 30)


def test_what_preparing_the_network_took_is_told_by_form_and_is_that_of_the_slowest_actor():
    telemetry = Telemetry(units_total=10, units_done=0, processors=2)
    for receipt in (
        RECEIPT,
        replace(RECEIPT, prepare_s=2.5),
        replace(RECEIPT, prepare_s=1.0),
        replace(RECEIPT, prepared="cuda:0, bfloat16", prepare_s=9.0),
    ):
        telemetry.receive(receipt)
    assert telemetry.tally().prepare_seconds == {"cpu, float32": 2.5, "cuda:0, bfloat16": 9.0}


def test_speed_now_forgets_what_is_long_ago():
    clock = Clock()
    telemetry = Telemetry(units_total=10, units_done=0, processors=1, clock=clock)
    telemetry.receive(RECEIPT)
    clock.now += 60
    assert telemetry.tally().images_per_s_now == 0


def test_before_the_first_receipt_nothing_is_made_up():
    tally = Telemetry(units_total=3, units_done=1, processors=1).tally()
    assert tally.remaining_s is None
    assert tally.efficiency is None
    assert "left" not in progress_line(tally).words


def served(telemetry: Telemetry) -> str:
    return generate_latest(telemetry.registry).decode()


def test_a_gauge_is_left_out_until_its_value_is_known():
    telemetry = Telemetry(units_total=60, units_done=30, processors=1)
    assert 'posrefine_units{state="pending"} 30.0' in served(telemetry)
    for unknown in ("posrefine_remaining_seconds", "posrefine_efficiency_ratio"):
        assert unknown not in served(telemetry)
    telemetry.receive(RECEIPT)
    for known in ("posrefine_remaining_seconds", "posrefine_efficiency_ratio"):
        assert re.search(rf"^{known} [0-9.]+", served(telemetry), re.MULTILINE)


def test_the_speed_that_is_served_falls_to_nothing_when_a_run_stands_still():
    clock = Clock()
    telemetry = Telemetry(units_total=10, units_done=0, processors=1, clock=clock)
    clock.now += 10
    telemetry.receive(RECEIPT)
    assert 'posrefine_images_per_second{window="now"} 1.0' in served(telemetry)
    clock.now += 60
    assert 'posrefine_images_per_second{window="now"} 0.0' in served(telemetry)


def test_the_line_says_units_images_speed_time_and_failures():
    clock = Clock()
    telemetry = Telemetry(units_total=1000, units_done=0, processors=1, clock=clock)
    clock.now += 10
    telemetry.receive(RECEIPT)
    line = str(progress_line(telemetry.tally()))
    assert line == "0% · 1 of 1,000 units · 10 images · 1.0 images/s · 1:14:56 left · 1 failed (1 corrupt)"


def answers(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize(("host", "elsewhere"), [((), False), (("0.0.0.0",), True)])
def test_metrics_are_for_this_machine_alone_unless_another_address_is_named(
    host: tuple[str, ...], elsewhere: bool
):
    port = free_port()
    with Telemetry(units_total=1, units_done=0, processors=1).serving(port, *host):
        assert answers("127.0.0.1", port)
        assert answers("127.0.0.2", port) is elsewhere


def test_an_address_of_another_machine_is_refused_with_what_to_do():
    telemetry = Telemetry(units_total=1, units_done=0, processors=1)
    with (
        pytest.raises(ConfigurationError, match=r"--metrics-host 192\.0\.2\.1.*an address of this machine"),
        telemetry.serving(free_port(), "192.0.2.1"),
    ):
        pass


def test_metrics_are_served_with_what_was_counted():
    telemetry = Telemetry(units_total=10, units_done=4, processors=1)
    telemetry.receive(replace(RECEIPT, attempts=3))
    port = free_port()
    with telemetry.serving(port), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as reply:
        text = reply.read().decode()
    assert 'posrefine_images_total{status="ok"} 9.0' in text
    assert 'posrefine_images_total{status="corrupt"} 1.0' in text
    assert 'posrefine_images_total{status="timeout"} 0.0' in text
    assert "posrefine_unit_retries_total 2.0" in text
    assert 'posrefine_units{state="pending"} 5.0' in text
    assert 'posrefine_stage_seconds_total{stage="predictor"} 2.5' in text
    assert 'posrefine_prepare_seconds{form="cpu, float32"} 0.5' in text


def test_a_log_that_is_over_before_the_first_interval_gets_no_line():
    stream = io.StringIO()
    with show_progress(Telemetry(units_total=1, units_done=0, processors=1).tally, stream):
        pass
    assert stream.getvalue() == ""


def test_where_the_run_stands_can_be_shown_while_receipts_come_in():
    clock = Clock()
    telemetry = Telemetry(units_total=10_000, units_done=0, processors=1, clock=clock)
    errors: list[BaseException] = []

    def watch(over: threading.Event) -> None:
        try:
            while not over.is_set():
                telemetry.tally()
        except RuntimeError as error:
            errors.append(error)

    over = threading.Event()
    watcher = threading.Thread(target=watch, args=(over,))
    switch_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        watcher.start()
        for number in range(3000):
            clock.now += 0.05
            telemetry.receive(replace(RECEIPT, unit_id=f"u{number}"))
    finally:
        sys.setswitchinterval(switch_s)
        over.set()
        watcher.join()
    assert not errors
    assert telemetry.tally().images_done == 30_000
