"""Whole runs on a store whose answers come late, broken or not at all."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping

import pytest
from support.annotation import (
    annotate,
    is_free,
    require_same_tables,
    some_images,
    start_driver,
    table,
)
from support.faultproxy import FaultProxy
from support.ray_cluster import started_cluster, worker_pids
from support.s3 import Bucket, S3Server

from pipeline.output.parquet import decode_table
from pipeline.storage import Storage, forget_clients

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")]

IMAGES = some_images(12)


@pytest.fixture(scope="module")
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server.host, s3_server.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def environment(s3_server: S3Server, proxy: FaultProxy) -> dict[str, str]:
    return s3_server.environment(proxy.url)


@pytest.fixture(scope="module")
def cluster(environment: Mapping[str, str]) -> Iterator[str]:
    with started_cluster(environment) as address:
        yield address


@pytest.fixture(scope="module")
def bucket(s3_server: S3Server) -> Bucket:
    bucket = s3_server.make_bucket()
    for name, data in IMAGES.items():
        bucket.write(f"images/{name}", data)
    return bucket


@pytest.fixture(autouse=True)
def _behind_the_proxy(
    clean_environment: None,
    environment: Mapping[str, str],
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[None]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    forget_clients()
    yield
    proxy.heal()
    forget_clients()


def keys_of(bucket: Bucket) -> list[str]:
    return bucket.keys()


@pytest.fixture(scope="module")
def undisturbed(cluster: str, bucket: Bucket, environment: Mapping[str, str]) -> str:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        forget_clients()
        output = f"{bucket.uri}/undisturbed"
        assert annotate(f"{bucket.uri}/images", output) == 0
        assert len(table(output, "images")) == len(IMAGES)
        forget_clients()
    return output


def test_a_run_recovers_from_every_kind_of_fault_and_gives_the_same_tables(
    proxy: FaultProxy, bucket: Bucket, undisturbed: str
):
    output = f"{bucket.uri}/faults"
    before = len(proxy.struck())
    for kind in ("503", "reset", "reset_body", "short_body", "flip"):
        proxy.add(kind, method="GET", path=r"/images/.*\.png", times=2, after_bytes=60)
    for kind in ("hang", "slow"):
        proxy.add(kind, method="GET", path=r"/images/.*\.png", seconds=1.0)
    proxy.add("503", path="list-type", times=2)
    for kind in ("503", "reset", "409", "lost_reply"):
        proxy.add(kind, method="PUT", path="/units/", times=1)
    for what in ("run.json", "manifest", "lock.json", "tables/images", "_SUCCESS", "outcome.json"):
        proxy.add("lost_reply", method="PUT", path=what)

    assert annotate(f"{bucket.uri}/images", output) == 0

    assert len(proxy.struck()) - before == 5 * 2 + 2 + 2 + 4 + 6
    require_same_tables(output, undisturbed)
    assert is_free(output)
    assert not [key for key in keys_of(bucket) if "_probe" in key]


def test_a_store_slow_to_write_never_has_more_than_two_committing_workers_for_an_actor(
    cluster: str, proxy: FaultProxy, bucket: Bucket
):
    output = f"{bucket.uri}/slow"
    committing = [0]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            committing.append(len(worker_pids("MapBatches(commit)")))

    proxy.add("slow", method="PUT", path="/units/", times=100, seconds=2.0)
    watcher = threading.Thread(target=watch)
    watcher.start()
    code = annotate(f"{bucket.uri}/images", output, "--unit-images", "1", "--actors", "1")
    over.set()
    watcher.join()
    assert code == 0
    assert max(committing) == 2
    assert len(table(output, "images")) == len(IMAGES)


def test_an_outage_in_mid_run_is_sat_out(proxy: FaultProxy, bucket: Bucket, undisturbed: str):
    output = f"{bucket.uri}/outage"

    def break_and_heal() -> None:
        while not [key for key in keys_of(bucket) if key.startswith("outage/units/")]:
            time.sleep(0.01)
        proxy.add("reset", times=100_000)
        time.sleep(3)
        proxy.heal()

    outage = threading.Thread(target=break_and_heal)
    outage.start()
    code = annotate(f"{bucket.uri}/images", output)
    outage.join()
    assert code == 0
    require_same_tables(output, undisturbed)


def test_a_store_that_refuses_in_mid_run_stops_it_at_once_and_with_access_given_back_it_resumes(
    cluster: str, proxy: FaultProxy, bucket: Bucket, undisturbed: str
):
    output = f"{bucket.uri}/refused"

    def refuse() -> None:
        while not [key for key in keys_of(bucket) if key.startswith("refused/units/")]:
            time.sleep(0.01)
        proxy.add("403", path="/images/|/units/", times=100_000)
        refused_at.append(time.monotonic())

    refused_at: list[float] = []
    refusal = threading.Thread(target=refuse)
    refusal.start()
    # Before that it must not be over: each image comes late.
    proxy.add("slow", method="GET", path=r"/images/.*\.", times=100, seconds=1.0)
    with start_driver(f"{bucket.uri}/images", output, cluster) as driver:
        said, _ = driver.communicate(timeout=240)
    refusal.join()

    assert driver.returncode == 1, said
    # A fault of the network would have been tried for two minutes.
    assert time.monotonic() - refused_at[0] < 100
    assert "StorageError (exit code 1)" in said
    assert "check the credentials" in said
    outcome = json.loads(bucket.read("refused/outcome.json"))
    assert (outcome["exit_code"], outcome["complete"]) == (1, False)
    proxy.heal()
    statuses = [
        status
        for found in Storage().list(f"{output}/units")
        for status in decode_table(Storage().read_bytes(found.uri))["status"].to_pylist()
    ]
    assert 0 < len(statuses) < len(IMAGES)
    assert set(statuses) <= {"ok", "unsupported"}

    assert annotate(f"{bucket.uri}/images", output) == 0
    require_same_tables(output, undisturbed)
