"""Alerts fire on what they say, and are silent on runs that are well: promtool on metrics that runs gave."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import yaml
from prometheus_client import CollectorRegistry
from support.prometheus import JOB, Scrapes, needs_prometheus

from pipeline.driver.sync_gauges import SyncGauges
from pipeline.output.counts import TableCounts

RULES_FILE = Path(__file__).parents[2] / "infra/prometheus/rules.yaml"
RULES = {rule["alert"]: rule for rule in yaml.safe_load(RULES_FILE.read_text())["groups"][0]["rules"]}

TABLES = TableCounts(
    generation=1, images_version=0, persons_version=0, manifest_digest="", units=0, images=0, ok=0, failed={},
    min_score=0, persons=0, persons_below=0, broken_shards=0, left_out=0, groups=(),
)  # fmt: skip


def assert_firing(tmp_path: Path, run: Scrapes, expected: dict[str, Iterable[int]]) -> None:
    """In every minute of the run those alerts fire for which `expected` names the minute, and no other."""
    minutes = {name: set(expected.get(name, ())) for name in RULES}
    tests = [
        {
            "eval_time": f"{minute}m",
            "alertname": name,
            "exp_alerts": [{"exp_labels": JOB | rule["labels"], "exp_annotations": rule["annotations"]}]
            * (minute in minutes[name]),
        }
        for minute in range(run.minutes + 1)
        for name, rule in RULES.items()
    ]
    case = {"interval": "1m", "input_series": run.promtool_series(), "alert_rule_test": tests}
    document = {"rule_files": [str(RULES_FILE)], "evaluation_interval": "1m", "tests": [case]}
    path = tmp_path / "case.yaml"
    path.write_text(yaml.safe_dump(document))
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_alerts_read_metrics_that_a_run_has():
    run = Scrapes()
    run.start(units_total=2)
    run.pass_minutes(1, units=1)
    names = {series.partition("{")[0] for series in run.samples} | sync_names()
    for alert, rule in RULES.items():
        used = set(re.findall(r"posrefine_\w+", rule["expr"]))
        assert used
        assert used <= names, f"{alert} reads {used - names}"


def sync_names() -> set[str]:
    """Of the gauges that syncs push."""
    pushed: list[CollectorRegistry] = []
    gauges = SyncGauges("gateway:9091", "/out")
    gauges._push = pushed.append  # type: ignore[method-assign]
    gauges.behind(3, 5.0)
    gauges.up_to_date(TABLES)
    return {metric.name for registry in pushed for metric in registry.collect()}


def sync_case(tmp_path: Path, series: dict[str, str], firing: dict[str, range], hours: int) -> None:
    """Alerts on what was pushed, looked at by the hour; `series` has a value every five minutes."""
    labels = {"job": "posrefine-sync", "run": "s3://b/poses"}
    words = ",".join(f'{key}="{value}"' for key, value in labels.items())
    tests = [
        {
            "eval_time": f"{hour}h30m",
            "alertname": name,
            "exp_alerts": [{"exp_labels": labels | rule["labels"], "exp_annotations": rule["annotations"]}]
            * (hour in firing.get(name, ())),
        }
        for hour in range(hours)
        for name, rule in RULES.items()
    ]
    given = [{"series": f"posrefine_{name}{{{words}}}", "values": values} for name, values in series.items()]
    case = {"interval": "5m", "input_series": given, "alert_rule_test": tests}
    document = {"rule_files": [str(RULES_FILE)], "evaluation_interval": "5m", "tests": [case]}
    path = tmp_path / "case.yaml"
    path.write_text(yaml.safe_dump(document))
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
def test_syncs_that_end_well_every_night_are_no_alarm(tmp_path: Path):
    # 288 times five minutes are a day.
    nightly, zeros = " ".join(f"{86_400 * night}x287" for night in range(4)), "0x1151"
    sync_case(
        tmp_path,
        {
            "sync_last_success_timestamp_seconds": nightly,
            "sync_backlog": zeros,
            "sync_oldest_unlabelled_timestamp_seconds": zeros,
        },
        {},
        95,
    )


@needs_prometheus
def test_a_schedule_that_stopped_and_photographs_that_wait_are_told(tmp_path: Path):
    sync_case(
        tmp_path,
        {
            "sync_last_success_timestamp_seconds": "0x1139",
            "sync_backlog": "5x1139",
            "sync_oldest_unlabelled_timestamp_seconds": "3600x1139",
        },
        {"PosrefineSyncMissed": range(36, 95), "PosrefineBacklogOld": range(49, 95)},
        95,
    )


@needs_prometheus
def test_a_generation_unlike_those_before_is_told_until_one_is_like_them_again(tmp_path: Path):
    sync_case(
        tmp_path,
        {"generation_drifted": "0x23 1x23 0x23"},
        {"PosrefineGenerationDrifted": range(2, 4)},
        5,
    )


def test_every_alert_says_what_is_wrong_and_what_to_do():
    for rule in RULES.values():
        assert set(rule["annotations"]) == {"summary", "action"}
        assert rule["labels"]["severity"] in {"page", "ticket"}


@needs_prometheus
def test_a_run_that_starts_slowly_and_then_works_is_no_alarm(tmp_path: Path):
    run = Scrapes()
    run.pass_minutes(2)
    run.start(units_total=60)
    run.pass_minutes(25)
    run.pass_minutes(60, units=1)
    run.pass_minutes(30)
    run.end()
    run.pass_minutes(20)
    assert_firing(tmp_path, run, {})


@needs_prometheus
def test_a_resumed_run_is_no_alarm(tmp_path: Path):
    run = Scrapes()
    run.start(units_total=100)
    run.pass_minutes(30, units=1)
    run.end()
    run.pass_minutes(3)
    run.start(units_total=100, units_done=30)
    run.pass_minutes(20)
    run.pass_minutes(70, units=1)
    assert_firing(tmp_path, run, {})


@needs_prometheus
def test_a_run_that_stands_still_is_told_after_15_minutes_and_until_it_goes_on(tmp_path: Path):
    run = Scrapes()
    run.start(units_total=100)
    run.pass_minutes(5)
    run.pass_minutes(20, units=1)
    run.pass_minutes(25)
    run.pass_minutes(10, units=1)
    # The last image before was seen in minute 25, the next one in minute 51.
    assert_firing(tmp_path, run, {"PosrefineRunStalled": range(40, 51)})


@needs_prometheus
def test_a_run_that_never_gets_to_work_is_told_after_half_an_hour(tmp_path: Path):
    run = Scrapes()
    run.start(units_total=100, units_done=40)
    run.pass_minutes(45)
    assert_firing(tmp_path, run, {"PosrefineRunNotStarting": range(31, 46)})


@needs_prometheus
def test_a_network_that_waits_for_images_is_told_after_a_quarter_of_an_hour(tmp_path: Path):
    run = Scrapes()
    run.start(units_total=100)
    run.pass_minutes(30, units=1, predictor_s=10)
    assert_firing(tmp_path, run, {"PosrefineInefficient": range(17, 31)})


@needs_prometheus
def test_more_than_one_failed_image_in_a_hundred_is_told(tmp_path: Path):
    run = Scrapes()
    run.start(units_total=100)
    run.pass_minutes(10, units=1, failed=1)
    run.pass_minutes(20, units=1, failed=3)
    assert_firing(tmp_path, run, {"PosrefineManyFailedImages": range(16, 31)})


@needs_prometheus
def test_workers_that_die_again_and_again_are_told(tmp_path: Path):
    run = Scrapes()
    run.start(units_total=100)
    run.pass_minutes(10, units=1)
    run.pass_minutes(6, units=1, attempts=3)
    run.pass_minutes(10, units=1)
    assert_firing(tmp_path, run, {"PosrefineWorkersDie": range(16, 27)})
