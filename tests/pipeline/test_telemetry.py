"""Numbers of a run: counted from receipts, shown as metrics and as a line."""

from __future__ import annotations

import io
import threading
import urllib.request
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from support.ports import free_port

from pipeline.progress import progress_line, show_progress
from pipeline.receipt import Receipt
from pipeline.telemetry import Telemetry
from posrefine.errors import ImageStatus

RECEIPT = Receipt(
    unit_id="u",
    images={ImageStatus.OK: 9, ImageStatus.CORRUPT: 1},
    persons=20,
    input_bytes=1000,
    output_bytes=100,
    load_s=1.0,
    infer_s=3.0,
    predictor_s=2.0,
    commit_s=0.5,
    attempts=1,
    prepared="cpu, float32",
    prepare_s=0.5,
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_receipts_come_back_from_their_table():
    assert list(Receipt.from_table(RECEIPT.to_table())) == [RECEIPT]


def test_speed_time_left_and_efficiency_follow_from_the_receipts():
    clock = Clock()
    telemetry = Telemetry(units_total=10, units_done=4, actors=2, clock=clock)
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
    # Each bare predictor does 9 images in 2 s: two could have done 90 in these 10 s; 18 were done.
    assert tally.bare_images_per_s == pytest.approx(4.5)
    assert tally.efficiency == pytest.approx(18 / 90)
    assert tally.stage_seconds == {"load": 2.0, "infer": 6.0, "predictor": 4.0, "commit": 1.0}


def test_what_preparing_the_network_took_is_told_by_form_and_is_that_of_the_slowest_actor():
    telemetry = Telemetry(units_total=10, units_done=0, actors=2)
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
    telemetry = Telemetry(units_total=10, units_done=0, actors=1, clock=clock)
    telemetry.receive(RECEIPT)
    clock.now += 60
    assert telemetry.tally().images_per_s_now == 0


def test_before_the_first_receipt_nothing_is_made_up():
    tally = Telemetry(units_total=3, units_done=1, actors=1).tally()
    assert tally.remaining_s is None
    assert tally.efficiency is None
    assert "left" not in progress_line(tally)


def test_the_line_says_units_images_speed_time_and_failures():
    clock = Clock()
    telemetry = Telemetry(units_total=1000, units_done=0, actors=1, clock=clock)
    clock.now += 10
    telemetry.receive(RECEIPT)
    line = progress_line(telemetry.tally())
    assert line == "1 of 1,000 units · 10 images · 1.0 images/s · 1:14:56 left · 1 failed"


def test_metrics_are_served_with_what_was_counted():
    telemetry = Telemetry(units_total=10, units_done=4, actors=1)
    telemetry.receive(replace(RECEIPT, attempts=3))
    port = free_port()
    with telemetry.serving(port), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as reply:
        text = reply.read().decode()
    assert 'posrefine_images_total{status="ok"} 9.0' in text
    assert 'posrefine_images_total{status="corrupt"} 1.0' in text
    assert 'posrefine_images_total{status="timeout"} 0.0' in text
    assert "posrefine_unit_retries_total 2.0" in text
    assert 'posrefine_units{state="pending"} 5.0' in text
    assert 'posrefine_stage_seconds_total{stage="predictor"} 2.0' in text
    assert 'posrefine_prepare_seconds{form="cpu, float32"} 0.5' in text


def test_the_final_numbers_reach_a_gateway_under_the_runs_name():
    received: dict[str, str] = {}

    class Gateway(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            received[self.path] = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    telemetry = Telemetry(units_total=1, units_done=0, actors=1)
    telemetry.receive(RECEIPT)
    with HTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        telemetry.push(f"http://127.0.0.1:{server.server_port}", "run1")
        thread.join()
    assert 'posrefine_images_total{status="ok"} 9.0' in received["/metrics/job/posrefine/run/run1"]


def test_a_gateway_that_is_not_there_raises_an_os_error():
    telemetry = Telemetry(units_total=1, units_done=0, actors=1)
    with pytest.raises(OSError, match="refused"):
        telemetry.push(f"http://127.0.0.1:{free_port()}", "run")


def test_a_log_that_is_over_before_the_first_interval_gets_no_line():
    stream = io.StringIO()
    with show_progress(Telemetry(units_total=1, units_done=0, actors=1).tally, stream):
        pass
    assert stream.getvalue() == ""
