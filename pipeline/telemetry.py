"""The numbers of a run: one prometheus_client registry in the driver, fed by receipts alone."""

from __future__ import annotations

import time
from collections import Counter as Tallies
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, push_to_gateway, start_http_server

from pipeline.receipt import STAGES, Receipt
from posrefine.errors import ConfigurationError, ImageStatus

__all__ = ["RunTally", "Telemetry"]

_RECENT_S = 30.0


@dataclass(frozen=True)
class RunTally:
    """Where a run stands.

    Attributes:
        units_total: units of the manifest.
        units_done: committed units, those of earlier runs included.
        images: images of this run by status.
        persons: persons found in this run.
        elapsed_s: seconds of this run.
        startup_s: the part of them before the first unit was begun, while workers and actors started.
        images_per_s: over this run, start-up included.
        images_per_s_now: over the last half minute.
        remaining_s: estimated seconds to the last unit; None before the first receipt.
        efficiency: images/s after start-up over what the actors' bare predictors reach; None at first.
        bare_images_per_s: images/s of one actor's bare predictor; None at first.
        stage_seconds: seconds of all workers together by stage; `predictor` is a part of `infer`.
        prepare_seconds: how actors made the network ready, and the seconds of the slowest of them.
    """

    units_total: int
    units_done: int
    images: dict[ImageStatus, int]
    persons: int
    elapsed_s: float
    startup_s: float
    images_per_s: float
    images_per_s_now: float
    remaining_s: float | None
    efficiency: float | None
    bare_images_per_s: float | None
    stage_seconds: dict[str, float]
    prepare_seconds: dict[str, float]

    @property
    def images_done(self) -> int:
        """Images of this run, failed ones included."""
        return sum(self.images.values())

    @property
    def images_failed(self) -> int:
        """Images of this run without keypoints."""
        return self.images_done - self.images.get(ImageStatus.OK, 0)


class Telemetry:
    """Counts receipts; serves and pushes what it counted.

    Args:
        units_total: units of the manifest.
        units_done: units that were committed before this run.
        actors: inference actors, each with one predictor.
        clock: seconds, monotonic.
    """

    def __init__(
        self, units_total: int, units_done: int, actors: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock, self._start, self._actors = clock, clock(), actors
        self._units_total, self._units_before, self._units_now = units_total, units_done, 0
        self._images: Tallies[ImageStatus] = Tallies()
        self._persons = 0
        self._stage_seconds = dict.fromkeys(STAGES, 0.0)
        self._prepare_seconds: dict[str, float] = {}
        self._first_unit_at: float | None = None
        self._recent: deque[tuple[float, int]] = deque()
        self.registry = CollectorRegistry()
        self._metrics = _Metrics(self.registry)
        self._update_gauges()

    def receive(self, receipt: Receipt) -> None:
        """Count one committed unit."""
        if self._first_unit_at is None:
            worked_s = receipt.load_s + receipt.infer_s + receipt.commit_s
            self._first_unit_at = max(self._start, self._clock() - worked_s)
        self._units_now += 1
        self._images.update(receipt.images)
        self._persons += receipt.persons
        for stage, seconds in receipt.stage_seconds().items():
            self._stage_seconds[stage] += seconds
        slowest = self._prepare_seconds.get(receipt.prepared, 0.0)
        self._prepare_seconds[receipt.prepared] = max(slowest, receipt.prepare_s)
        self._recent.append((self._clock(), sum(receipt.images.values())))
        self._metrics.count(receipt)
        self._update_gauges()

    def tally(self) -> RunTally:
        """Where the run stands now."""
        now = self._clock()
        first = now if self._first_unit_at is None else self._first_unit_at
        elapsed, worked = max(now - self._start, 1e-9), max(now - first, 1e-9)
        images, ok = self._images.total(), self._images[ImageStatus.OK]
        pending = self._units_total - self._units_before - self._units_now
        predictor_s = self._stage_seconds["predictor"]
        bare = ok / predictor_s if predictor_s else None
        return RunTally(
            units_total=self._units_total,
            units_done=self._units_before + self._units_now,
            images=dict(self._images),
            persons=self._persons,
            elapsed_s=elapsed,
            startup_s=first - self._start,
            images_per_s=images / elapsed,
            images_per_s_now=self._recent_images() / min(elapsed, _RECENT_S),
            remaining_s=worked / self._units_now * pending if self._units_now else None,
            efficiency=ok / worked / (bare * self._actors) if bare else None,
            bare_images_per_s=bare,
            stage_seconds=dict(self._stage_seconds),
            prepare_seconds=dict(self._prepare_seconds),
        )

    @contextmanager
    def serving(self, port: int) -> Iterator[None]:
        """Serves the metrics over HTTP while the block lasts; port 0 serves nothing.

        Raises:
            ConfigurationError: the port cannot be had.
        """
        if port == 0:
            yield
            return
        try:
            server, thread = start_http_server(port, registry=self.registry)
        except OSError as error:
            raise ConfigurationError(f"--metrics-port {port}: {error}; choose a free one") from error
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def push(self, gateway: str, run: str) -> None:
        """Push the metrics to a Pushgateway, grouped under the run's output.

        Raises:
            OSError: the gateway cannot be reached.
        """
        self._update_gauges()
        push_to_gateway(gateway, job="posrefine", registry=self.registry, grouping_key={"run": run})

    def _recent_images(self) -> int:
        horizon = self._clock() - _RECENT_S
        while self._recent and self._recent[0][0] < horizon:
            self._recent.popleft()
        return sum(images for _, images in self._recent)

    def _update_gauges(self) -> None:
        self._metrics.show(self.tally())


class _Metrics:
    """The metrics by their names; seconds and bytes are in the names."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.images = Counter(
            "posrefine_images", "Images committed, by status.", ["status"], registry=registry
        )
        self.persons = Counter("posrefine_persons", "Persons found.", registry=registry)
        self.units = Gauge(
            "posrefine_units", "Units of the manifest, by state.", ["state"], registry=registry
        )
        self.retries = Counter(
            "posrefine_unit_retries", "Further attempts after workers died.", registry=registry
        )
        self.quarantined = Counter(
            "posrefine_units_quarantined", "Units with an image that killed its worker.", registry=registry
        )
        self.input_bytes = Counter("posrefine_input_bytes", "Encoded images read.", registry=registry)
        self.output_bytes = Counter("posrefine_output_bytes", "Unit files written.", registry=registry)
        self.stage_seconds = Counter(
            "posrefine_stage_seconds", "Seconds of all workers, by stage.", ["stage"], registry=registry
        )
        self.rate = Gauge(
            "posrefine_images_per_second", "Images/s, by window.", ["window"], registry=registry
        )
        self.remaining = Gauge("posrefine_remaining_seconds", "Estimated time to finish.", registry=registry)
        self.efficiency = Gauge(
            "posrefine_efficiency_ratio", "Images/s of the run over its bare predictors'.", registry=registry
        )
        self.prepare = Gauge(
            "posrefine_prepare_seconds",
            "Seconds in which an actor made the network ready, the slowest, by form.",
            ["form"],
            registry=registry,
        )
        for status in ImageStatus:
            self.images.labels(status.value)

    def count(self, receipt: Receipt) -> None:
        for status, images in receipt.images.items():
            self.images.labels(status.value).inc(images)
        self.persons.inc(receipt.persons)
        self.retries.inc(receipt.attempts - 1)
        self.quarantined.inc(1 if receipt.images.get(ImageStatus.WORKER_DIED) else 0)
        self.input_bytes.inc(receipt.input_bytes)
        self.output_bytes.inc(receipt.output_bytes)
        for stage, seconds in receipt.stage_seconds().items():
            self.stage_seconds.labels(stage).inc(seconds)

    def show(self, tally: RunTally) -> None:
        self.units.labels("done").set(tally.units_done)
        self.units.labels("pending").set(tally.units_total - tally.units_done)
        self.rate.labels("run").set(tally.images_per_s)
        self.rate.labels("now").set(tally.images_per_s_now)
        self.remaining.set(tally.remaining_s or 0.0)
        self.efficiency.set(tally.efficiency or 0.0)
        for form, seconds in tally.prepare_seconds.items():
            self.prepare.labels(form).set(seconds)
