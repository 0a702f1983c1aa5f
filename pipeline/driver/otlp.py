"""The numbers of a run for an OpenTelemetry collector, by its own exporter: those that Prometheus sees."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Metric

from posrefine.errors import ConfigurationError
from posrefine.redaction import redacted

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import Metric as SdkMetric
    from opentelemetry.sdk.metrics.export import MetricsData, NumberDataPoint

__all__ = ["otlp_exporting", "send_once"]

logger = logging.getLogger(__name__)

INTERVAL_S = 15.0
_TIMEOUT_S = 10.0
"""For one export with all its retries."""
_PATH = "/v1/metrics"


@contextmanager
def otlp_exporting(
    registry: CollectorRegistry, endpoint: str | None, output: str, *, interval_s: float = INTERVAL_S
) -> Iterator[None]:
    """Sends what the registry holds while the block lasts, every few seconds, and once more at its end.

    Args:
        registry: of the run.
        endpoint: of the collector, such as http://127.0.0.1:4318; None sends nothing. Headers, with what is
            secret in them, come from OTEL_EXPORTER_OTLP_HEADERS.
        output: of the run; the attribute `posrefine.run` of all that is sent.
        interval_s: seconds between two exports.

    Raises:
        ConfigurationError: OpenTelemetry's exporter is not installed, or the endpoint is no http address.
    """
    if endpoint is None:
        yield
        return
    sender, over = _Sender(endpoint, output), threading.Event()

    def send_until_over() -> None:
        while not over.wait(interval_s):
            sender.send(registry)

    thread = threading.Thread(target=send_until_over, daemon=True, name="otlp")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        sender.send(registry)
        sender.close()


def send_once(registry: CollectorRegistry, endpoint: str | None, output: str) -> None:
    """Sends what the registry holds now; arguments and errors as `otlp_exporting` has them."""
    if endpoint is not None:
        sender = _Sender(endpoint, output)
        sender.send(registry)
        sender.close()


class _Sender:
    """Hands a registry's numbers to the exporter. One that is away is told once, and changes nothing."""

    def __init__(self, endpoint: str, output: str) -> None:
        self._exporter = _exporter(endpoint)
        self._endpoint, self._output, self._told = endpoint, output, False

    def send(self, registry: CollectorRegistry) -> None:
        from opentelemetry.sdk.metrics.export import MetricExportResult

        result = self._exporter.export(_metrics_data(registry, self._output))
        if result is not MetricExportResult.SUCCESS and not self._told:
            self._told = True
            logger.warning(
                "metrics could not be sent to %s; the run goes on without them", redacted(self._endpoint)
            )

    def close(self) -> None:
        self._exporter.shutdown()


def _exporter(endpoint: str) -> OTLPMetricExporter:
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    except ImportError as error:
        raise ConfigurationError(
            "--otlp: OpenTelemetry's exporter is not installed: pip install --editable '.[pipeline,otlp]'"
        ) from error
    try:
        parts = urlsplit(endpoint)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ConfigurationError(
            f"--otlp {redacted(endpoint)}: no http address; wanted one such as http://127.0.0.1:4318"
        )
    # What the exporter says of each try is said once, in our words.
    logging.getLogger("opentelemetry.exporter.otlp").setLevel(logging.CRITICAL)
    whole = endpoint if parts.path not in ("", "/") else endpoint.rstrip("/") + _PATH
    return OTLPMetricExporter(endpoint=whole, timeout=_TIMEOUT_S)


def _metrics_data(registry: CollectorRegistry, output: str) -> MetricsData:
    from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    metrics = [_metric(family) for family in registry.collect() if family.samples]
    scope = ScopeMetrics(InstrumentationScope("posrefine"), metrics, "")
    resource = Resource.create({"service.name": "posrefine", "posrefine.run": output})
    return MetricsData([ResourceMetrics(resource, [scope], "")])


def _metric(family: Metric) -> SdkMetric:
    """Counters stay counters, from when they began on; all else is a gauge."""
    from opentelemetry.sdk.metrics.export import AggregationTemporality, Gauge, Sum
    from opentelemetry.sdk.metrics.export import Metric as SdkMetric

    now = time.time_ns()
    began = {_key(s.labels): int(s.value * 1e9) for s in family.samples if s.name.endswith("_created")}
    points = [
        _point(sample.labels, sample.value, began.get(_key(sample.labels)), now)
        for sample in family.samples
        if not sample.name.endswith("_created")
    ]
    data = (
        Sum(points, AggregationTemporality.CUMULATIVE, is_monotonic=True)
        if family.type == "counter"
        else Gauge(points)
    )
    return SdkMetric(family.name, family.documentation, "", data)


def _point(labels: Mapping[str, str], value: float, began: int | None, now: int) -> NumberDataPoint:
    from opentelemetry.sdk.metrics.export import NumberDataPoint

    return NumberDataPoint(dict(labels), began or now, now, float(value))


def _key(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))
