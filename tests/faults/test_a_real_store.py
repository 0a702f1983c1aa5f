"""The promises on a Ceph gateway: a store that checks signatures, keeps conditions and survives its death."""

from __future__ import annotations

import logging
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from deltalake import DeltaTable
from support.annotation import annotate, require_same_tables, some_images, write_images
from support.ceph import CephStore, missing_programs, started_ceph
from support.ray_cluster import started_cluster
from support.s3 import Bucket
from support.standing import Standing, picture

from pipeline.storage import Storage, StorageOptions, forget_clients
from posrefine.errors import ObjectChanged, ObjectExists, StorageError

pytestmark = [pytest.mark.s3_real, pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")]

STORAGE = Storage(StorageOptions(deadline_s=60.0))
IMAGES = some_images(12)


@pytest.fixture(scope="module")
def ceph() -> Iterator[CephStore]:
    if missing := missing_programs():
        pytest.skip(f"no Ceph RADOS Gateway on this machine (missing: {', '.join(missing)})")
    with (
        tempfile.TemporaryDirectory(prefix="ceph", dir="/tmp", ignore_cleanup_errors=True) as folder,
        started_ceph(Path(folder) / "c") as store,
    ):
        yield store


@pytest.fixture
def bucket(ceph: CephStore, clean_environment: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    use(ceph.environment(), monkeypatch)
    yield ceph.make_bucket()
    forget_clients()


def use(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    forget_clients()


def test_of_racing_creators_one_wins_and_the_probe_finds_that_out(
    bucket: Bucket, caplog: pytest.LogCaptureFixture
):
    def create(owner: int) -> bool:
        try:
            STORAGE.create(f"{bucket.uri}/one", f"owner {owner}".encode())
        except ObjectExists:
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        won = list(pool.map(create, range(12)))
    assert won.count(True) == 1
    assert bucket.read("one") == f"owner {won.index(True)}".encode()
    with caplog.at_level(logging.WARNING):
        assert STORAGE.probe_conditions(f"{bucket.uri}/out") == STORAGE
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert bucket.keys() == ["one"]


def test_a_replaced_object_is_not_read_as_the_pinned_one(bucket: Bucket):
    uri = bucket.write("a", b"first")
    etag = STORAGE.head(uri).etag
    assert STORAGE.read_bytes(uri, etag) == b"first"
    bucket.write("a", b"other")
    with pytest.raises(ObjectChanged):
        STORAGE.read_bytes(uri, etag)
    with pytest.raises(ObjectChanged):
        STORAGE.read_range(uri, 0, 3, etag)


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_are_refused_at_once_and_named_but_not_shown(
    bucket: Bucket, name: str, monkeypatch: pytest.MonkeyPatch
):
    use({name: "wrong-and-private"}, monkeypatch)
    with pytest.raises(StorageError, match="check the credentials") as caught:
        STORAGE.put(f"{bucket.uri}/a", b"x")
    assert name == "AWS_ACCESS_KEY_ID" or "wrong-and-private" not in str(caught.value)
    assert bucket.keys() == []


def test_tls_with_the_stores_own_certificate_works_and_without_it_is_refused(
    ceph: CephStore, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
):
    body = bytes(range(256)) * 400
    use(ceph.tls_environment(), monkeypatch)
    STORAGE.create(f"{bucket.uri}/a", body)
    assert STORAGE.read_bytes(f"{bucket.uri}/a") == body
    assert STORAGE.read_range(f"{bucket.uri}/a", 3, 70_000) == body[3:70_000]
    monkeypatch.delenv("AWS_CA_BUNDLE")
    forget_clients()
    with pytest.raises(StorageError, match="AWS_CA_BUNDLE"):
        Storage(StorageOptions(deadline_s=60.0, attempts=2)).read_bytes(f"{bucket.uri}/a")


def test_no_acknowledged_write_is_lost_when_the_gateway_is_killed_and_started_again(
    ceph: CephStore, bucket: Bucket
):
    def kill_and_start() -> None:
        ceph.kill_gateway()
        ceph.start_gateway()

    restart = threading.Timer(0.2, kill_and_start)
    restart.start()
    for number in range(60):
        STORAGE.create(f"{bucket.uri}/{number:03d}", f"body {number}".encode())
    restart.join()
    assert [bucket.read(f"{number:03d}") for number in range(60)] == [
        f"body {number}".encode() for number in range(60)
    ]


def test_a_put_over_the_known_etag_goes_through_and_one_over_another_is_refused(bucket: Bucket):
    storage = Storage().probe_conditions(bucket.uri)
    assert storage.options.conditional_replaces
    uri = f"{bucket.uri}/lease"
    first = storage.create(uri, b"first")
    second = storage.replace(uri, b"second", first)
    assert storage.read_bytes(uri, second) == b"second"
    with pytest.raises(ObjectChanged):
        storage.replace(uri, b"third", first)
    assert storage.read_bytes(uri) == b"second"


@pytest.mark.slow
def test_a_run_whose_store_is_killed_in_mid_run_loses_and_doubles_nothing(
    ceph: CephStore, bucket: Bucket, tmp_path: Path
):
    given = write_images(tmp_path / "images", IMAGES)
    output = f"{bucket.uri}/out"

    def kill_and_start() -> None:
        while not [key for key in list(bucket.keys()) if key.startswith("out/units/")]:
            over.wait(0.02)
        ceph.kill_gateway()
        over.wait(2)
        ceph.start_gateway()

    over = threading.Event()
    with started_cluster(ceph.environment()):
        assert annotate(given, str(tmp_path / "undisturbed")) == 0
        killer = threading.Thread(target=kill_and_start)
        killer.start()
        assert annotate(given, output) == 0
        killer.join()
    require_same_tables(output, str(tmp_path / "undisturbed"))


def test_a_standing_data_set_is_synced_read_by_its_logs_and_replaced_there(bucket: Bucket, ceph: CephStore):
    for number in range(5):
        bucket.write(f"in/{number}.png", picture(number))
    standing = Standing(STORAGE, f"{bucket.uri}/in", f"{bucket.uri}/out")
    standing.sync()
    first = standing.rows()
    bucket.write("in/0.png", picture(61))
    bucket.write("in/new one.png", picture(60))
    bucket.client.delete_object(Bucket=bucket.name, Key="in/3.png")
    assert standing.sync().message.startswith(
        "generation 2: 1 new, 1 stale, 1 orphaned; 0 of 2 images failed"
    )
    assert standing.rows(1) == first
    assert standing.sync().message.startswith("nothing new")
    options = {
        "AWS_ENDPOINT_URL": ceph.environment()["AWS_ENDPOINT_URL"], "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": ceph.environment()["AWS_ACCESS_KEY_ID"],
        "AWS_SECRET_ACCESS_KEY": ceph.environment()["AWS_SECRET_ACCESS_KEY"],
    }  # fmt: skip
    for network in (0, 1):
        if network:
            assert standing.replace(network).exit_code == 0
        rows = standing.rows()
        images = DeltaTable(f"{bucket.uri}/out/tables/images", storage_options=options)
        found = images.to_pyarrow_table(columns=["uri", "person_count"]).to_pylist()
        assert sorted((row["uri"], row["person_count"]) for row in found) == [
            (uri, persons) for uri, _, persons in rows
        ]
        assert len(rows) == 5
