"""The numbers of a run: one prometheus_client registry in the driver, fed by receipts alone."""

from __future__ import annotations

import threading
import time
from collections import Counter as Tallies
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from pipeline.driver.processors import Processors
from pipeline.output.person_count import PersonCount
from pipeline.output.tally import RunTally
from pipeline.stages.receipt import STAGES, Receipt
from posrefine.errors import ConfigurationError, ImageStatus
from posrefine.score_floor import SCORE_FLOOR

__all__ = ["Telemetry"]

_RECENT_S = 30.0


class Telemetry:
    """Counts receipts, and serves what it counted. Threads may ask while another one counts.

    Args:
        units_total: units of the manifest.
        units_done: units that were committed before this run.
        processors: GPUs of the cluster where actors are on GPUs, else its cores; used or not. For as long as
            nothing else is heard of them.
        min_score: from which persons are counted.
        clock: seconds, monotonic.
        began_s: when the run began by that clock, if that was before now.
    """

    def __init__(
        self,
        units_total: int,
        units_done: int,
        processors: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        min_score: float = SCORE_FLOOR,
        began_s: float | None = None,
    ) -> None:
        self._clock, self._start = clock, clock() if began_s is None else began_s
        self._processors = Processors(self._start, processors)
        self._units_total, self._units_before, self._units_now = units_total, units_done, 0
        self._images: Tallies[ImageStatus] = Tallies()
        self._people, self._min_score = PersonCount(), min_score
        self._stage_seconds = dict.fromkeys(STAGES, 0.0)
        self._busy_s = 0.0
        self._prepare_seconds: dict[str, float] = {}
        self._first_unit_at: float | None = None
        self._recent: deque[tuple[float, int]] = deque()
        self._lock = threading.RLock()
        self.registry = CollectorRegistry()
        self._counters = _Counters(self.registry)
        self.registry.register(_Gauges(self.tally))

    def receive(self, receipt: Receipt) -> None:
        """Count one committed unit."""
        with self._lock:
            # The unit that came first need not be the one that was begun first.
            worked_s = receipt.load_s + receipt.infer_s + receipt.commit_s
            begun_at = max(self._start, self._clock() - worked_s)
            self._first_unit_at = min(begun_at, self._first_unit_at or begun_at)
            self._units_now += 1
            self._images.update(receipt.images)
            self._people += PersonCount(receipt.persons, receipt.persons_below)
            for stage, seconds in receipt.stage_seconds().items():
                self._stage_seconds[stage] += seconds
            self._busy_s += receipt.busy_s
            slowest = self._prepare_seconds.get(receipt.prepared, 0.0)
            self._prepare_seconds[receipt.prepared] = max(slowest, receipt.prepare_s)
            self._recent.append((self._clock(), sum(receipt.images.values())))
            self._counters.count(receipt)

    def see_processors(self, processors: float) -> None:
        """So many are there now: machines may have come or gone since this was told last."""
        with self._lock:
            self._processors.see(self._clock(), processors)

    def tally(self) -> RunTally:
        """Where the run stands now."""
        with self._lock:
            return self._tally()

    def _tally(self) -> RunTally:
        now = self._clock()
        first = now if self._first_unit_at is None else self._first_unit_at
        elapsed, worked = max(now - self._start, 1e-9), max(now - first, 1e-9)
        images, ok = self._images.total(), self._images[ImageStatus.OK]
        pending = self._units_total - self._units_before - self._units_now
        processors = self._processors.mean(first, now)
        bare = ok / self._busy_s * processors if ok and self._busy_s else None
        return RunTally(
            units_total=self._units_total,
            units_done=self._units_before + self._units_now,
            images=dict(self._images),
            people=self._people,
            min_score=self._min_score,
            elapsed_s=elapsed,
            startup_s=first - self._start,
            images_per_s=images / elapsed,
            images_per_s_now=self._recent_images() / min(elapsed, _RECENT_S),
            remaining_s=worked / self._units_now * pending if self._units_now else None,
            # Of a run of seconds the first unit's start is told too late: what it waited is in no receipt.
            efficiency=min(1.0, ok / worked / bare) if bare else None,
            bare_images_per_s=bare,
            stage_seconds=dict(self._stage_seconds),
            prepare_seconds=dict(self._prepare_seconds),
        )

    @contextmanager
    def serving(self, port: int, host: str = "127.0.0.1") -> Iterator[None]:
        """Serves the metrics over HTTP while the block lasts; port 0 serves nothing.

        Args:
            port: to listen on.
            host: address of this machine to listen on; by default nobody else reaches it.

        Raises:
            ConfigurationError: the port cannot be had there.
        """
        if port == 0:
            yield
            return
        try:
            server, thread = start_http_server(port, host, registry=self.registry)
        except OSError as error:
            raise ConfigurationError(
                f"--metrics-port {port}, --metrics-host {host}: {error}; choose a free port, and an address "
                "of this machine"
            ) from error
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _recent_images(self) -> int:
        horizon = self._clock() - _RECENT_S
        while self._recent and self._recent[0][0] < horizon:
            self._recent.popleft()
        return sum(images for _, images in self._recent)


class _Counters:
    """What only grows, by its name; seconds and bytes are in the names."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.images = Counter(
            "posrefine_images", "Images committed, by status.", ["status"], registry=registry
        )
        self.persons = Counter(
            "posrefine_persons", "Persons found, from the least score on.", registry=registry
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


class _Gauges(Collector):
    """Where the run stands at the moment somebody asks. What is not known yet is left out, not shown as 0."""

    def __init__(self, tally: Callable[[], RunTally]) -> None:
        self._tally = tally

    def collect(self) -> Iterator[GaugeMetricFamily]:
        tally = self._tally()
        states = {"done": tally.units_done, "pending": tally.units_total - tally.units_done}
        yield _gauge("posrefine_units", "Units of the manifest, by state.", "state", states)
        rates = {"run": tally.images_per_s, "now": tally.images_per_s_now}
        yield _gauge("posrefine_images_per_second", "Images/s, by window.", "window", rates)
        yield _gauge(
            "posrefine_prepare_seconds",
            "Seconds in which an actor made the network ready, the slowest, by form.",
            "form",
            tally.prepare_seconds,
        )
        if tally.remaining_s is not None:
            yield GaugeMetricFamily(
                "posrefine_remaining_seconds", "Estimated time to finish.", tally.remaining_s
            )
        if tally.efficiency is not None:
            yield GaugeMetricFamily(
                "posrefine_efficiency_ratio",
                "Images/s of the run over those of bare predictors on all processors that were there.",
                tally.efficiency,
            )


def _gauge(name: str, words: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, words, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family
