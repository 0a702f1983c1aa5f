"""The dashboard: Grafana's own model knows all of it, and every query says something about a recorded run."""

from __future__ import annotations

import json
import math
import re
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from support.grafana import through_grafanas_model
from support.ports import free_port
from support.prometheus import UNIT_IMAGES, Scrapes, needs_prometheus

from pipeline.driver.sync_gauges import SyncGauges
from pipeline.output.counts import GroupCounts, TableCounts
from pipeline.output.measures import Histogram, Measures
from posrefine.errors import ImageStatus

DASHBOARD = json.loads((Path(__file__).parents[2] / "infra/grafana/posrefine.json").read_text())
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"]}
EXPRESSIONS = [
    (f"{title} {target['refId']}", target["expr"])
    for title, panel in PANELS.items()
    for target in panel["targets"]
]
SYNC = {"job": "posrefine-sync", "run": "s3://bucket/poses"}
GROUP: dict[str, Any] = {
    "group": 0, "file": "part.parquet", "first_unit": "u", "last_unit": "u", "units": 2,
    "images": {"ok": 200}, "objects": 200, "left_out": 0, "persons": 0, "persons_below": 0,
    "broken_shards": 0, "units_digest": "",
    "images_etag": "", "persons_etag": "", "images_bytes": 1, "persons_bytes": 1,
}  # fmt: skip
TABLES: dict[str, Any] = {
    "generation": 3, "images_version": 2, "persons_version": 2, "manifest_digest": "", "units": 6,
    "images": 600, "ok": 590, "failed": {ImageStatus.CORRUPT: 10}, "min_score": 0.3,
    "persons": 0, "persons_below": 0,
    "broken_shards": 0, "left_out": 0,
}  # fmt: skip
# What Grafana puts in the place of its variables.
FILLED = {"$instance": ".*", "$run": ".*", "$__rate_interval": "5m"}


def pushed_by_syncs() -> list[CollectorRegistry]:
    """Of a standing data set whose third generation is unlike the two before, and of one that is behind."""
    pushed: list[CollectorRegistry] = []
    gauges = SyncGauges("gateway:9091", SYNC["run"])
    gauges._push = pushed.append  # type: ignore[method-assign]
    generations = [GroupCounts(**GROUP, generation=n, measures=measures(n // 3)) for n in (1, 2, 3)]
    gauges.up_to_date(TableCounts(**TABLES, groups=tuple(generations)))
    gauges.behind(7, 5.0)
    return pushed


def measures(persons: int) -> Measures:
    """Of 200 images, each with about so many persons."""
    counts, ok = np.arange(200) % 2 + persons, np.zeros(200)
    return Measures(persons=Histogram.of("persons", counts), failed=Histogram.of("failed", ok))


def recorded_run() -> Scrapes:
    """Half an hour, and three quarters of the units: with failures, workers that die, and a resume."""
    run = Scrapes()
    run.pushed = [(registry, SYNC) for registry in pushed_by_syncs()]
    run.start(units_total=40)
    run.pass_minutes(3)
    run.pass_minutes(10, units=1)
    run.end()
    run.pass_minutes(2)
    run.start(units_total=40, units_done=10)
    run.pass_minutes(3)
    run.pass_minutes(18, units=1, failed=2)
    run.pass_minutes(2, units=1, failed=1, failed_by=ImageStatus.WORKER_DIED, attempts=3)
    return run


@dataclass(frozen=True)
class Prometheus:
    """A server that holds the recorded run."""

    url: str
    end: float

    def query(self, expression: str) -> list[dict[str, Any]]:
        for name, value in FILLED.items():
            expression = expression.replace(name, value)
        query = urllib.parse.urlencode({"query": expression, "time": self.end})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{query}") as reply:
            return json.load(reply)["data"]["result"]

    def value(self, expression: str) -> float:
        (result,) = self.query(expression)
        return float(result["value"][1])


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    folder, end = tmp_path_factory.mktemp("prometheus"), float(int(time.time()) - 600)
    (folder / "run.prom").write_text(recorded_run().open_metrics(end))
    (folder / "prometheus.yml").write_text("{}")
    blocks = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "run.prom", "data"]
    subprocess.run(blocks, cwd=folder, check=True, capture_output=True)
    url = f"127.0.0.1:{free_port()}"
    command = [
        *("prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"),
        *("--storage.tsdb.retention.time=1y", f"--web.listen-address={url}", "--log.level=error"),
    ]
    with subprocess.Popen(command, cwd=folder) as server:
        try:
            yield Prometheus(_answering(f"http://{url}", server), end)
        finally:
            server.terminate()


def _answering(url: str, server: subprocess.Popen[bytes]) -> str:
    for _ in range(600):
        assert server.poll() is None, "prometheus ended"
        try:
            with urllib.request.urlopen(f"{url}/-/ready"):
                return url
        except OSError:
            time.sleep(0.1)
    pytest.fail("prometheus did not answer within a minute")


def leaves(value: object, path: str = "") -> dict[str, object]:
    """The plain values of a JSON document by their path."""
    if isinstance(value, dict) and value:
        return {k: v for key, part in value.items() for k, v in leaves(part, f"{path}/{key}").items()}
    if isinstance(value, list) and value:
        return {k: v for n, part in enumerate(value) for k, v in leaves(part, f"{path}/{n}").items()}
    return {path: value}


def test_grafanas_model_of_a_dashboard_knows_every_field():
    known = leaves(through_grafanas_model(DASHBOARD))
    assert {
        path: value for path, value in leaves(DASHBOARD).items() if known.get(path, "lost") != value
    } == {}


def test_a_field_that_grafana_does_not_know_is_found():
    wrong = json.loads(json.dumps(DASHBOARD).replace('"showPoints"', '"showDots"'))
    assert any(
        "showDots" in path for path in leaves(wrong).keys() - leaves(through_grafanas_model(wrong)).keys()
    )


def test_panels_have_their_own_place_a_unit_and_a_description():
    assert len({panel["id"] for panel in PANELS.values()}) == len(DASHBOARD["panels"]) == len(PANELS)
    cells: set[tuple[int, int]] = set()
    for title, panel in PANELS.items():
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        own = {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}
        assert columns.stop <= 24
        assert not own & cells, f"{title} lies on another panel"
        cells |= own
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]


def test_the_dashboard_shows_every_metric_of_a_run_and_no_other():
    served = {re.sub(r"\{.*", "", series) for series in recorded_run().samples}
    shown = {name for _, expression in EXPRESSIONS for name in re.findall(r"posrefine_\w+", expression)}
    assert shown == served


@needs_prometheus
@pytest.mark.parametrize(("name", "expression"), EXPRESSIONS, ids=[name for name, _ in EXPRESSIONS])
def test_every_query_says_something_about_a_run(prometheus: Prometheus, name: str, expression: str):
    results = prometheus.query(expression)
    assert results
    assert all(math.isfinite(float(result["value"][1])) for result in results)


@needs_prometheus
def test_the_numbers_are_those_of_the_run(prometheus: Prometheus):
    def shown(title: str) -> float:
        return prometheus.value(PANELS[title]["targets"][0]["expr"])

    images = 20 * UNIT_IMAGES
    assert shown("Progress") == pytest.approx(30 / 40)
    assert shown("Failed images") == pytest.approx((18 * 2 + 2) / images)
    assert shown("Persons an image") == 2
    # Ten units are left, and one took a minute.
    assert shown("Time left") == pytest.approx(600, rel=0.1)
    failures = prometheus.query(PANELS["Failures by kind"]["targets"][0]["expr"])
    assert {result["metric"]["status"] for result in failures} == {"corrupt", "worker_died"}
    assert shown("Backlog") == 7
    assert shown("Oldest that waits") == pytest.approx(prometheus.end - 5)
    assert shown("Generation") == 3
    images_now = prometheus.query(PANELS["Images in the tables"]["targets"][0]["expr"])
    assert {r["metric"]["state"]: float(r["value"][1]) for r in images_now} == {"ok": 590, "failed": 10}
    drift = prometheus.query(PANELS["Drift"]["targets"][0]["expr"])
    assert {r["metric"]["measure"] for r in drift if float(r["value"][1])} == {"persons"}
    further, quarantined = (
        prometheus.value(target["expr"]) for target in PANELS["Workers that died"]["targets"]
    )
    assert further == pytest.approx(2 * quarantined)


@needs_prometheus
def test_the_alerts_on_the_dashboard_are_asked_for_in_words_that_prometheus_knows(prometheus: Prometheus):
    (annotation,) = DASHBOARD["annotations"]["list"]
    assert prometheus.query(annotation["expr"]) == []
