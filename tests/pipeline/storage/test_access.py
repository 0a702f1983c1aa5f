"""Stores that are not there, public buckets, and buckets whose readers pay."""

from __future__ import annotations

import pickle
import socket
import time
from collections.abc import Iterator

import pytest
from support.faultproxy import FaultProxy
from support.images import encode, gradient
from support.ports import free_port
from support.s3 import Bucket, S3Server
from support.shards import make_parquet, make_tar

from pipeline.inputs.access import reaching_input
from pipeline.inputs.cutting import cut_into_units
from pipeline.inputs.load import load_unit
from pipeline.inputs.readers import ReadOptions
from pipeline.storage import Storage, StorageOptions, forget_clients
from posrefine.errors import ConfigurationError, StorageError

PHOTO = encode(gradient())


@pytest.fixture
def no_credentials(s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    forget_clients()
    yield
    forget_clients()


def test_a_public_bucket_is_read_without_credentials_where_that_is_asked_for(s3_bucket, no_credentials):
    uri = f"{s3_bucket.uri}/in/a.jpg"
    s3_bucket.client.put_object(Bucket=s3_bucket.name, Key="in/a.jpg", Body=PHOTO, ACL="public-read")
    with pytest.raises(StorageError, match=r"needs credentials.*--anonymous"):
        Storage().read_bytes(uri)
    storage = reaching_input(Storage(), {"input": f"{s3_bucket.uri}/in", "anonymous": True})
    storage = pickle.loads(pickle.dumps(storage))
    assert [found.uri for found in storage.list(f"{s3_bucket.uri}/in")] == [uri]
    assert storage.read_bytes(uri) == PHOTO
    with pytest.raises(StorageError, match="needs credentials"):
        storage.read_bytes("s3://another-bucket/a.jpg")


def test_only_requests_of_the_inputs_bucket_agree_to_pay(s3_server: S3Server, s3_bucket, monkeypatch):
    uri = s3_bucket.write("a.jpg", PHOTO)
    other = s3_server.make_bucket()
    with FaultProxy(s3_server.host, s3_server.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        forget_clients()
        storage = reaching_input(Storage(), {"input": s3_bucket.uri, "requester_pays": True})
        assert storage.read_bytes(uri) == PHOTO
        assert storage.head(uri).size_bytes == len(PHOTO)
        assert len(list(storage.list(s3_bucket.uri))) == 1
        storage.put(f"{other.uri}/b", b"x")
        forget_clients()
    assert [request.headers.get("x-amz-request-payer") for request in proxy.requests] == ["requester"] * 3 + [
        None
    ]


def test_who_pays_cannot_be_anonymous_and_local_inputs_need_neither():
    with pytest.raises(ConfigurationError, match="exclude each other"):
        reaching_input(Storage(), {"input": "s3://b", "anonymous": True, "requester_pays": True})
    assert reaching_input(Storage(), {"input": "/photos", "anonymous": True}) == Storage()


def test_a_dead_endpoint_is_told_soon_and_with_the_reason(s3_bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free_port()}")
    forget_clients()
    began = time.monotonic()
    for _ in range(2):  # a run also tries to write its outcome there
        with pytest.raises(StorageError, match="Connection refused"):
            Storage(StorageOptions(first_answer_s=3.0)).read_bytes(f"{s3_bucket.uri}/a")
    assert time.monotonic() - began < 60  # not the two minutes for which a known store is waited for
    forget_clients()


def test_a_store_that_takes_connections_and_stays_silent_is_told_soon_too(s3_bucket, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the system takes connections, and nobody reads
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        forget_clients()
        began, storage = time.monotonic(), Storage(StorageOptions(first_answer_s=2.0))
        with pytest.raises(StorageError, match="nothing that listens there answered within 4 s"):
            storage.read_bytes(f"{s3_bucket.uri}/a")
        with pytest.raises(StorageError, match="within 3 s"):  # a run also tries to write its outcome there
            storage.put(f"{s3_bucket.uri}/b", b"outcome")
        assert time.monotonic() - began < 30
    forget_clients()


def test_whoever_is_handed_a_storage_waits_for_a_store_as_long_as_for_any_outage():
    storage = Storage(StorageOptions(first_answer_s=3.0, deadline_s=7.0))
    assert pickle.loads(pickle.dumps(storage)).options.first_answer_s is None
    assert pickle.loads(pickle.dumps(storage)).options.deadline_s == 7.0


def test_an_archived_object_is_one_failed_row_and_an_archived_shard_one_for_its_images(s3_bucket):
    files = {
        "a.jpg": PHOTO,
        "b.jpg": PHOTO,
        "c.tar": make_tar({"c.jpg": PHOTO}),
        "d.parquet": make_parquet({}),
    }
    for name, data in files.items():
        archived = {} if name == "b.jpg" else {"StorageClass": "GLACIER"}
        s3_bucket.client.put_object(Bucket=s3_bucket.name, Key=f"in/{name}", Body=data, **archived)
    units = list(cut_into_units(f"{s3_bucket.uri}/in", Storage()))
    rows = [row for unit in units for row in load_unit(unit, Storage(), ReadOptions())]
    assert {row.image_key.partition("#")[0]: row.status.value for row in rows} == {
        "a.jpg": "unreadable",
        "b.jpg": "ok",
        "c.tar": "unreadable",
        "d.parquet": "unreadable",
    }
    assert all("archived" in str(row.error) for row in rows if row.image_key != "b.jpg")
