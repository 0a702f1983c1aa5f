"""The run's numbers at an OpenTelemetry collector: a receiver on loopback that reads OTLP."""

from __future__ import annotations

import gzip
import logging
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from support.ports import free_port
from support.receipts import RECEIPT

from pipeline.driver import otlp
from pipeline.driver.otlp import otlp_exporting
from pipeline.driver.sync_gauges import SyncGauges
from pipeline.driver.telemetry import Telemetry
from posrefine.errors import ConfigurationError

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otlp is not installed")

OUTPUT = "s3://bucket/run1"


class _Receiver(BaseHTTPRequestHandler):
    got: ClassVar[list[tuple[str, ExportMetricsServiceRequest]]] = []
    heard: ClassVar[threading.Condition] = threading.Condition()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        with self.heard:
            self.got.append((self.path, ExportMetricsServiceRequest.FromString(body)))
            self.heard.notify_all()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.end_headers()
        self.wfile.write(ExportMetricsServiceResponse().SerializeToString())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[str]:
    _Receiver.got.clear()
    server = HTTPServer(("127.0.0.1", 0), _Receiver)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def telemetry_of_a_unit() -> Telemetry:
    telemetry = Telemetry(units_total=4, units_done=1, processors=1)
    telemetry.receive(RECEIPT)
    return telemetry


def metrics_of(request: ExportMetricsServiceRequest) -> dict[str, Metric]:
    (resource,) = request.resource_metrics
    (scope,) = resource.scope_metrics
    return {metric.name: metric for metric in scope.metrics}


def test_a_collector_gets_the_same_numbers_as_prometheus(collector: str):
    telemetry = telemetry_of_a_unit()
    with otlp_exporting(telemetry.registry, collector, OUTPUT):
        pass
    ((path, request),) = _Receiver.got
    assert path == "/v1/metrics"
    attributes = {a.key: a.value.string_value for a in request.resource_metrics[0].resource.attributes}
    assert attributes["service.name"] == "posrefine"
    assert attributes["posrefine.run"] == OUTPUT

    metrics = metrics_of(request)
    assert set(metrics) == {family.name for family in telemetry.registry.collect() if family.samples}
    images = metrics["posrefine_images"].sum
    assert images.is_monotonic
    assert images.aggregation_temporality == AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    by_status = {point.attributes[0].value.string_value: point.as_double for point in images.data_points}
    assert (by_status["ok"], by_status["corrupt"], by_status["missing"]) == (9, 1, 0)
    assert all(0 < point.start_time_unix_nano <= point.time_unix_nano for point in images.data_points)
    units = metrics["posrefine_units"].gauge.data_points
    assert {p.attributes[0].value.string_value: p.as_double for p in units} == {"done": 2, "pending": 2}


def test_numbers_are_sent_again_while_the_run_lasts(collector: str):
    telemetry = Telemetry(units_total=4, units_done=0, processors=1)
    with otlp_exporting(telemetry.registry, collector, OUTPUT, interval_s=0.01), _Receiver.heard:
        assert _Receiver.heard.wait_for(lambda: len(_Receiver.got) >= 3, timeout=60)


def test_a_sync_says_there_how_far_behind_it_is(collector: str):
    SyncGauges(None, OUTPUT, collector).behind(7, 5.0)
    ((_, request),) = _Receiver.got
    sent = {name: metric.gauge.data_points[0].as_double for name, metric in metrics_of(request).items()}
    assert sent == {"posrefine_sync_backlog": 7, "posrefine_sync_oldest_unlabelled_timestamp_seconds": 5}


def test_a_collector_that_is_away_is_told_once_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(otlp, "_TIMEOUT_S", 0.2)
    endpoint = f"http://127.0.0.1:{free_port()}"
    telemetry = telemetry_of_a_unit()
    with (
        caplog.at_level(logging.WARNING),
        otlp_exporting(telemetry.registry, endpoint, OUTPUT, interval_s=0.01),
    ):
        pass
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == f"metrics could not be sent to {endpoint}; the run goes on without them"


def test_without_an_endpoint_nothing_is_imported_or_sent(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.metric_exporter", None)
    with otlp_exporting(telemetry_of_a_unit().registry, None, OUTPUT):
        pass


def test_a_missing_package_and_a_wrong_address_are_refused(monkeypatch: pytest.MonkeyPatch):
    registry = telemetry_of_a_unit().registry
    with (
        pytest.raises(ConfigurationError, match="no http address; wanted"),
        otlp_exporting(registry, "collector:4317", OUTPUT),
    ):
        pass
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.metric_exporter", None)
    with (
        pytest.raises(ConfigurationError, match=r"pip install .*otlp"),
        otlp_exporting(registry, "http://127.0.0.1:4318", OUTPUT),
    ):
        pass
