"""How far behind its input a standing data set is, for a Pushgateway or an OpenTelemetry collector.

Syncs come and go too fast to be scraped, and a night without anything new serves nothing.
"""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Gauge

from pipeline.driver.lossy import push
from pipeline.driver.otlp import send_once
from pipeline.output.counts import TableCounts
from pipeline.output.drift import drift_of
from pipeline.settings.sync import SyncSettings
from pipeline.storage.uris import normalise_uri

__all__ = ["SyncGauges"]


class SyncGauges:
    """Pushes what a sync knows, grouped under its output.

    Args:
        gateway: URL of the Pushgateway; None pushes nothing.
        output: of the run.
        otlp: endpoint of an OpenTelemetry collector; None sends nothing.
    """

    def __init__(self, gateway: str | None, output: str, otlp: str | None = None) -> None:
        self._gateway, self._output, self._otlp = gateway, normalise_uri(output), otlp

    @staticmethod
    def of(settings: SyncSettings) -> SyncGauges:
        """Where a sync's settings say, about its output."""
        return SyncGauges(settings.pushgateway, settings.output, settings.otlp)

    def behind(self, backlog: int, oldest_s: float | None) -> None:
        """There is something to annotate: so many images and shards, the oldest written at that time."""
        registry = CollectorRegistry()
        _backlog(registry).set(backlog)
        _oldest(registry).set(oldest_s or 0)
        self._push(registry)

    def up_to_date(self, tables: TableCounts) -> None:
        """The tables are as the input is, and hold this."""
        registry = CollectorRegistry()
        _backlog(registry).set(0)
        _oldest(registry).set(0)
        Gauge(
            "posrefine_sync_last_success_timestamp_seconds",
            "When a sync last ended with tables that are as the input is.",
            registry=registry,
        ).set(time.time())
        _tables(registry, tables)
        _drift(registry, tables)
        self._push(registry)

    def _push(self, registry: CollectorRegistry) -> None:
        send_once(registry, self._otlp, self._output)
        # What is behind is told without what the last good sync told.
        push(registry, self._gateway, "posrefine-sync", self._output, keep=True)


def _backlog(registry: CollectorRegistry) -> Gauge:
    return Gauge(
        "posrefine_sync_backlog", "Images and shards that were seen and are not annotated.", registry=registry
    )


def _oldest(registry: CollectorRegistry) -> Gauge:
    return Gauge(
        "posrefine_sync_oldest_unlabelled_timestamp_seconds",
        "When the oldest of them was written; 0 where there are none.",
        registry=registry,
    )


def _tables(registry: CollectorRegistry, tables: TableCounts) -> None:
    last = Gauge("posrefine_sync_generation", "Last generation of the tables.", registry=registry)
    last.set(tables.generation)
    images = Gauge("posrefine_sync_images", "Images in the tables.", ["state"], registry=registry)
    images.labels("ok").set(tables.ok)
    images.labels("failed").set(sum(tables.failed.values()))


def _drift(registry: CollectorRegistry, tables: TableCounts) -> None:
    """One series of each a measure, whatever number of generations there are."""
    now, before, moved = (
        Gauge(f"posrefine_generation_{name}", words, ["measure"], registry=registry)
        for name, words in (
            ("mean", "Mean over the images of the last generation that annotated any."),
            ("mean_before", "The same over the generations that it is compared with."),
            ("drifted", "1 where it is unlike those before by more than chance, else 0."),
        )
    )
    drifts = drift_of(tables)
    if not drifts:
        return
    last = drifts[max(drifts)]
    for measure, mean in last.means.items():
        now.labels(measure).set(mean)
        moved.labels(measure).set(measure in {one.measure for one in last.moved})
    for measure, mean in last.before.items():
        before.labels(measure).set(mean)
