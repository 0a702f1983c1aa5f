"""Puts that must not replace what is there, on stores that know conditions and on those that do not."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from support.faultproxy import FaultProxy

from pipeline.storage import Storage, StorageOptions, forget_clients
from pipeline.storage.uris import join_uri
from posrefine.errors import (
    ConditionUnsupported,
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    StorageError,
)


def test_create_writes_once_and_then_refuses(root, storage):
    uri = join_uri(root, "a")
    storage.create(uri, b"mine")
    with pytest.raises(ObjectExists):
        storage.create(uri, b"yours")
    assert storage.read_bytes(uri) == b"mine"


@pytest.mark.parametrize("create_only_puts", [True, False])
def test_creating_the_very_same_bytes_again_is_no_conflict(root, create_only_puts):
    storage = Storage(StorageOptions(create_only_puts=create_only_puts))
    for _ in range(2):
        storage.create(join_uri(root, "a"), b"mine")
    assert [info.size_bytes for info in storage.list(root)] == [4]


def test_a_folder_that_is_a_file_is_an_error_and_not_an_object_that_exists(tmp_path, storage):
    (tmp_path / "file").write_bytes(b"x")
    for write in (storage.create, storage.put):
        with pytest.raises(StorageError) as caught:
            write(str(tmp_path / "file/below"), b"y")
        assert type(caught.value) is StorageError


def test_of_many_racing_creators_exactly_one_wins(root, storage):
    uri = join_uri(root, "prize")
    ready = threading.Barrier(12)

    def race(number: int) -> bool:
        ready.wait()
        try:
            storage.create(uri, b"%d" % number)
        except ObjectExists:
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        won = list(pool.map(race, range(12)))
    assert won.count(True) == 1
    assert storage.read_bytes(uri) == b"%d" % won.index(True)


def test_creating_by_looking_first_also_refuses_what_is_there(root):
    weak = Storage(StorageOptions(create_only_puts=False))
    uri = join_uri(root, "a")
    weak.create(uri, b"mine")
    with pytest.raises(ObjectExists):
        weak.create(uri, b"yours")
    assert weak.read_bytes(uri) == b"mine"


def test_the_probe_finds_create_only_puts_and_leaves_nothing_behind(root, storage):
    assert storage.probe_conditions(join_uri(root, "out")) is storage
    assert list(storage.list(root)) == []


def test_the_probe_finds_that_a_store_ignores_the_condition_and_warns_of_it(s3_bucket, monkeypatch, caplog):
    endpoint = urlsplit(os.environ["AWS_ENDPOINT_URL"])
    with FaultProxy(endpoint.hostname, endpoint.port, unheard=frozenset({"if-none-match"})) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        forget_clients()
        probed = Storage().probe_conditions(f"{s3_bucket.uri}/out")
        assert not probed.options.create_only_puts
        assert "this store does not keep create-only puts;" in caplog.text
        assert s3_bucket.keys() == []
        probed.create(f"{s3_bucket.uri}/out/one", b"first")
        with pytest.raises(ObjectExists):
            probed.create(f"{s3_bucket.uri}/out/one", b"second")
        assert s3_bucket.read("out/one") == b"first"
        forget_clients()


def test_the_probe_finds_that_a_store_ignores_if_match(s3_bucket, monkeypatch, caplog):
    endpoint = urlsplit(os.environ["AWS_ENDPOINT_URL"])
    with FaultProxy(endpoint.hostname, endpoint.port, unheard=frozenset({"if-match"})) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        forget_clients()
        probed = Storage().probe_conditions(f"{s3_bucket.uri}/out")
        assert probed.options.create_only_puts
        assert not probed.options.conditional_replaces
        assert "this store does not keep If-Match;" in caplog.text
        uri = f"{s3_bucket.uri}/out/one"
        first = probed.create(uri, b"first")
        probed.replace(uri, b"second", first)
        with pytest.raises(ObjectChanged):
            probed.replace(uri, b"third", first)
        assert s3_bucket.read("out/one") == b"second"
        forget_clients()


@pytest.mark.parametrize("status", ["400", "501"])
def test_a_store_that_refuses_to_hear_of_conditions_is_written_to_by_looking_first(
    s3_bucket, monkeypatch, caplog, status
):
    endpoint = urlsplit(os.environ["AWS_ENDPOINT_URL"])
    with FaultProxy(endpoint.hostname, endpoint.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        forget_clients()
        proxy.add(status, method="PUT", header="if-none-match", times=100)
        proxy.add(status, method="PUT", header="if-match", times=100)
        probed = Storage().probe_conditions(f"{s3_bucket.uri}/out")
        assert "does not keep create-only puts and If-Match;" in caplog.text
        etag = probed.create(f"{s3_bucket.uri}/out/one", b"first")
        probed.replace(f"{s3_bucket.uri}/out/one", b"second", etag)
        assert s3_bucket.read("out/one") == b"second"
        forget_clients()


@pytest.mark.parametrize("error", [errno.ENOTSUP, errno.EPERM, errno.ENOSYS])
def test_a_file_system_without_hard_links_is_written_to_by_looking_first(
    tmp_path, monkeypatch, caplog, error
):
    def link(*_: object) -> None:
        raise OSError(error, "no links here")

    monkeypatch.setattr("pipeline.storage.local.os.link", link)
    probed = Storage().probe_conditions(str(tmp_path))
    assert not probed.options.create_only_puts
    assert probed.options.conditional_replaces
    assert "does not keep create-only puts;" in caplog.text
    probed.create(str(tmp_path / "one"), b"first")
    with pytest.raises(ObjectExists):
        probed.create(str(tmp_path / "one"), b"second")


def test_a_folder_in_which_no_link_may_be_made_is_no_store_without_links(tmp_path, monkeypatch):
    def link(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pipeline.storage.local.os.link", link)
    for refused in (
        lambda: Storage().create(str(tmp_path / "one"), b"first"),
        lambda: Storage().probe_conditions(str(tmp_path)),
    ):
        with pytest.raises(StorageError, match="Permission denied") as caught:
            refused()
        assert type(caught.value) is StorageError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.ENOLCK])
def test_a_file_system_without_locks_is_warned_of_and_written_to_by_looking_first(
    tmp_path, monkeypatch, caplog, error
):
    def flock(*_: object) -> None:
        raise OSError(error, "no locks here")

    monkeypatch.setattr("pipeline.storage.local.fcntl.flock", flock)
    uri = str(tmp_path / "one")
    etag = Storage().create(uri, b"first")
    with pytest.raises(ConditionUnsupported, match="locks no folder"):
        Storage().replace(uri, b"second", etag)
    probed = Storage().probe_conditions(str(tmp_path))
    assert probed.options.create_only_puts
    assert not probed.options.conditional_replaces
    assert "does not keep If-Match;" in caplog.text
    probed.replace(uri, b"second", etag)
    with pytest.raises(ObjectChanged):
        probed.replace(uri, b"third", etag)
    assert [path.name for path in tmp_path.iterdir()] == ["one"]
    assert (tmp_path / "one").read_bytes() == b"second"


def test_a_folder_whose_lock_another_writer_keeps_is_no_store_without_locks(tmp_path):
    storage, uri = Storage(StorageOptions(deadline_s=0.05)), str(tmp_path / "one")
    etag = storage.create(uri, b"first")
    held = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="other writers hold the folder's lock") as caught:
            storage.replace(uri, b"second", etag)
        assert type(caught.value) is StorageError
    finally:
        os.close(held)
    storage.replace(uri, b"second", etag)


def test_only_the_object_that_was_seen_is_replaced(root, storage):
    uri = join_uri(root, "a")
    first = storage.create(uri, b"first")
    assert first == storage.head(uri).etag
    second = storage.replace(uri, b"second!", first)
    assert second == storage.head(uri).etag
    with pytest.raises(ObjectChanged):
        storage.replace(uri, b"late", first)
    assert storage.read_bytes(uri) == b"second!"
    storage.delete(uri)
    with pytest.raises(ObjectMissing):
        storage.replace(uri, b"too late", second)
    assert not storage.exists(uri)


def test_of_many_that_replace_the_same_object_exactly_one_wins(root, storage):
    uri = join_uri(root, "a")
    etag = storage.create(uri, b"first")

    def attempt(number: int) -> bool:
        try:
            storage.replace(uri, b"%02d was faster" % number, etag)
        except ObjectChanged:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(attempt, range(16)))
    assert won.count(True) == 1
    assert storage.read_bytes(uri) == b"%02d was faster" % won.index(True)


def test_a_file_is_created_once(root, storage, tmp_path):
    path = tmp_path / "local"
    path.write_bytes(b"first")
    uri = join_uri(root, "a")
    storage.create_file(uri, path)
    path.write_bytes(b"second")
    with pytest.raises(ObjectExists):
        storage.create_file(uri, path)
    assert storage.read_bytes(uri) == b"first"
