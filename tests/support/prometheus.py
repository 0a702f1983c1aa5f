"""A run as Prometheus sees it: the driver's own metrics, scraped once a minute on a clock of the test's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from pipeline.driver.telemetry import Telemetry
from pipeline.stages.receipt import Receipt
from posrefine.errors import ImageStatus

__all__ = ["JOB", "UNIT_IMAGES", "Scrapes", "needs_prometheus"]

JOB = {"instance": "head:9400", "job": "posrefine"}
UNIT_IMAGES = 100

needs_prometheus = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not on this machine (Debian's package prometheus)"
)


@dataclass
class Scrapes:
    """What was scraped, minute by minute, of one run after the other on one address.

    Attributes:
        minutes: scrapes so far.
        samples: values of each series by the minute in which they were scraped.
        pushed: what a Pushgateway holds, with the labels of its group.
    """

    minutes: int = 0
    samples: dict[str, dict[int, float]] = field(default_factory=dict)
    pushed: list[tuple[CollectorRegistry, dict[str, str]]] = field(default_factory=list)
    _telemetry: Telemetry | None = None

    def start(self, units_total: int, units_done: int = 0, processors: int = 1) -> None:
        """A run begins."""
        self._telemetry = Telemetry(units_total, units_done, processors, clock=lambda: self.minutes * 60.0)

    def pass_minutes(
        self,
        minutes: int,
        units: int = 0,
        predictor_s: float = 50.0,
        failed: int = 0,
        failed_by: ImageStatus = ImageStatus.CORRUPT,
        attempts: int = 1,
    ) -> None:
        """Time passes, and in each minute `units` are committed, each with `failed` images and `attempts`."""
        for _ in range(minutes):
            self.minutes += 1
            for _ in range(units if self._telemetry else 0):
                self._telemetry.receive(_receipt(predictor_s, failed, failed_by, attempts))
            self._scrape()

    def end(self) -> None:
        """The driver's process is over, or the machine it was on."""
        self._telemetry = None

    def promtool_series(self) -> list[dict[str, str]]:
        """The samples as input of `promtool test rules`, with Prometheus's mark where a series ends."""
        return [
            {"series": series, "values": " ".join(_values(values, self.minutes))}
            for series, values in sorted(self.samples.items())
        ]

    def open_metrics(self, end: float) -> str:
        """The samples as OpenMetrics text whose last one is of the Unix time `end`."""
        lines = [
            f"{series} {value} {end - 60 * (self.minutes - minute)}"
            for series, values in sorted(self.samples.items())
            for minute, value in values.items()
        ]
        return "\n".join([*lines, "# EOF", ""])

    def _scrape(self) -> None:
        served = [] if self._telemetry is None else [(self._telemetry.registry, JOB)]
        for registry, of_target in [*served, *self.pushed]:
            self._scrape_one(registry, of_target)

    def _scrape_one(self, registry: CollectorRegistry, of_target: dict[str, str]) -> None:
        for family in registry.collect():
            for sample in family.samples:
                if not sample.name.endswith("_created"):
                    labels = sorted((of_target | sample.labels).items())
                    series = sample.name + "{" + ",".join(f'{key}="{text}"' for key, text in labels) + "}"
                    self.samples.setdefault(series, {})[self.minutes] = sample.value


def _values(values: dict[int, float], minutes: int) -> Iterator[str]:
    for minute in range(minutes + 1):
        if minute in values:
            yield repr(values[minute])
        else:
            yield "stale" if minute - 1 in values else "_"


def _receipt(predictor_s: float, failed: int, failed_by: ImageStatus, attempts: int) -> Receipt:
    return Receipt(
        unit_id="u",
        images={ImageStatus.OK: UNIT_IMAGES - failed, failed_by: failed},
        persons=2 * (UNIT_IMAGES - failed),
        persons_below=UNIT_IMAGES,
        input_bytes=150_000 * UNIT_IMAGES,
        output_bytes=2_000 * UNIT_IMAGES,
        load_s=5.0,
        infer_s=predictor_s + 2.0,
        predictor_s=predictor_s,
        busy_s=predictor_s,
        commit_s=1.0,
        attempts=attempts,
        prepared="cpu, float32",
        prepare_s=3.0,
    )
