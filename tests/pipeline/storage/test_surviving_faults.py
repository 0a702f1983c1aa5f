from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from support.faultproxy import FaultProxy
from support.s3 import Bucket, S3Server

from pipeline.inputs.manifest import cut_into_units
from pipeline.inputs.readers import iter_unit
from pipeline.storage import Storage, StorageOptions, forget_clients
from posrefine.errors import ImageStatus, ObjectExists, StorageError

BODY = bytes(range(256)) * 2000
PATIENT = Storage(StorageOptions(deadline_s=30.0, read_timeout_s=2.0))
ONE_ATTEMPT = Storage(StorageOptions(deadline_s=30.0, read_timeout_s=2.0, attempts=1))


@pytest.fixture
def proxy(s3_server: S3Server, s3_bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """The way to the bucket; requests of the code under test go through it, those of `s3_bucket` do not."""
    with FaultProxy(s3_server.host, s3_server.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        forget_clients()
        yield proxy
        forget_clients()


@pytest.mark.parametrize("storage", [PATIENT, ONE_ATTEMPT], ids=["client repeats", "we repeat"])
@pytest.mark.parametrize("kind", ["503", "reset"])
def test_a_burst_of_failures_is_sat_out(proxy, s3_bucket, kind, storage):
    uri = f"{s3_bucket.uri}/a"
    for method in ("PUT", "GET", "HEAD"):
        proxy.add(kind, method=method, times=3)
    storage.put(uri, BODY)
    assert storage.read_bytes(uri) == BODY
    assert storage.head(uri).size_bytes == len(BODY)
    assert proxy.struck() == [kind] * 9


@pytest.mark.parametrize("kind", ["reset_body", "short_body", "flip"])
def test_a_damaged_body_is_fetched_again(proxy, s3_bucket, kind):
    uri = s3_bucket.write("a", BODY)
    proxy.add(kind, method="GET", after_bytes=100_000, times=2)
    assert PATIENT.read_bytes(uri) == BODY
    assert proxy.struck() == [kind] * 2


@pytest.mark.parametrize("kind", ["reset_body", "short_body", "flip"])
def test_a_store_whose_first_answer_came_damaged_has_answered(proxy, s3_bucket, kind):
    uri = s3_bucket.write("a", BODY)
    proxy.add(kind, method="GET", after_bytes=100)
    assert Storage(StorageOptions(first_answer_s=0.001)).read_bytes(uri) == BODY


@pytest.mark.parametrize("kind", ["reset_body", "short_body"])
def test_a_damaged_range_is_fetched_again(proxy, s3_bucket, kind):
    uri = s3_bucket.write("a", BODY)
    proxy.add(kind, method="GET", after_bytes=1000)
    assert PATIENT.read_range(uri, 500, 100_500, PATIENT.head(uri).etag) == BODY[500:100_500]
    assert proxy.struck() == [kind]


def test_a_large_object_may_take_longer_than_a_small_one(proxy, s3_bucket):
    uri = s3_bucket.write("a", BODY)
    patient, impatient = (
        Storage(StorageOptions(deadline_s=2.0, slowest_bytes_per_s=rate, read_timeout_s=2.0))
        for rate in (100_000.0, 1e9)
    )
    for storage in (patient, impatient):
        storage.head(uri)  # the first call of a client is the slowest, and not what this is about
    proxy.add("drip", method="GET", seconds=2.6, times=100)
    assert patient.read_bytes(uri) == BODY
    with pytest.raises(StorageError, match="within 2 s"):
        impatient.read_bytes(uri)


def test_a_silent_server_is_asked_again(proxy, s3_bucket):
    uri = s3_bucket.write("a", BODY)
    proxy.add("hang", method="GET", seconds=3.0)
    assert PATIENT.read_bytes(uri) == BODY


def test_a_page_of_a_listing_is_asked_for_again(proxy, s3_bucket):
    uri = s3_bucket.write("in/a", BODY)
    proxy.add("503", path="list-type", times=2)
    assert [info.uri for info in PATIENT.list(f"{s3_bucket.uri}/in")] == [uri]


@pytest.mark.parametrize("storage", [PATIENT, ONE_ATTEMPT], ids=["client repeats", "we repeat"])
def test_a_creator_whose_reply_is_lost_has_won_all_the_same(proxy, s3_bucket, storage):
    proxy.add("lost_reply", method="PUT")
    storage.create(f"{s3_bucket.uri}/a", b"owner 1")
    assert proxy.struck() == ["lost_reply"]
    assert s3_bucket.read("a") == b"owner 1"


def test_a_creator_whose_request_is_lost_does_not_win_by_anothers_object(proxy, s3_bucket):
    s3_bucket.write("a", b"owner 2")
    proxy.add("reset", method="PUT")
    with pytest.raises(ObjectExists):
        ONE_ATTEMPT.create(f"{s3_bucket.uri}/a", b"owner 1")
    assert s3_bucket.read("a") == b"owner 2"


def test_two_writers_at_the_same_moment_are_told_to_try_again_and_do(proxy, s3_bucket):
    proxy.add("409", method="PUT", times=2)
    PATIENT.create(f"{s3_bucket.uri}/a", b"x")
    assert proxy.struck() == ["409"] * 2


def test_a_lost_reply_is_survived_by_looking_first_as_well(proxy, s3_bucket):
    weak = Storage(StorageOptions(deadline_s=30.0, attempts=1, create_only_puts=False))
    proxy.add("lost_reply", method="PUT")
    weak.create(f"{s3_bucket.uri}/a", b"owner 1")
    assert s3_bucket.read("a") == b"owner 1"


def test_a_refusal_is_not_repeated_and_names_the_credentials(proxy, s3_bucket):
    uri = s3_bucket.write("a", BODY)
    proxy.add("403", method="GET", times=10)
    with pytest.raises(StorageError, match=r"read refused.*AWS_ACCESS_KEY_ID") as caught:
        PATIENT.read_bytes(uri)
    assert type(caught.value) is StorageError
    assert proxy.struck() == ["403"]


def test_a_store_that_stays_busy_ends_the_call_near_its_deadline(proxy, s3_bucket):
    uri = s3_bucket.write("a", b"x")
    proxy.add("503", times=10_000)
    storage = Storage(StorageOptions(deadline_s=2.0))
    began = time.monotonic()
    with pytest.raises(StorageError, match=r"failed \d+ times within 2 s"):
        storage.read_bytes(uri)
    assert time.monotonic() - began < 20  # a hang would take minutes


def test_no_fault_of_the_network_becomes_an_image_failure(proxy, s3_bucket):
    from support.images import encode, gradient

    for number in range(20):
        s3_bucket.write(f"in/{number:02d}.jpg", encode(gradient(300, 200)))
    (unit,) = cut_into_units(f"{s3_bucket.uri}/in", PATIENT)
    for kind in ("503", "reset", "reset_body", "short_body"):
        proxy.add(kind, method="GET", path=r"\.jpg", times=4, after_bytes=700)
    images = list(iter_unit(unit, PATIENT))
    assert [image.status for image in images] == [ImageStatus.OK] * 20
    assert len(proxy.struck()) == 16
