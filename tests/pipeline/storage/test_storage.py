from __future__ import annotations

import errno
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from support.faultproxy import FaultProxy

from pipeline.storage import Storage, StorageOptions, forget_clients
from pipeline.storage.uris import join_uri
from posrefine.errors import (
    ConfigurationError,
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    StorageError,
)

IMPATIENT = Storage(StorageOptions(deadline_s=2.0, connect_timeout_s=0.5, read_timeout_s=0.5, attempts=1))


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest) -> str:
    """An empty folder of each kind of store."""
    if request.param == "local":
        return str(request.getfixturevalue("tmp_path"))
    return request.getfixturevalue("s3_bucket").uri


@pytest.fixture
def storage() -> Storage:
    return Storage()


def test_what_is_put_is_read_back(root, storage):
    uri = join_uri(root, "deep/folder with space/ä#1.bin")
    storage.put(uri, b"first")
    storage.put(uri, b"second")
    assert storage.read_bytes(uri) == b"second"
    assert storage.head(uri).size_bytes == 6
    assert storage.exists(uri)


def test_a_range_has_exactly_the_bytes_asked_for(root, storage):
    uri = join_uri(root, "a")
    storage.put(uri, bytes(range(100)))
    assert storage.read_range(uri, 10, 20) == bytes(range(10, 20))
    assert storage.read_range(uri, 0, 100) == bytes(range(100))
    assert storage.read_range(uri, 50, 50) == b""


def test_an_empty_object_is_an_object(root, storage):
    uri = join_uri(root, "empty")
    storage.create(uri, b"")
    assert storage.read_bytes(uri) == b""


def test_a_range_behind_the_end_says_that_the_object_changed(root, storage):
    uri = join_uri(root, "a")
    storage.put(uri, b"12345")
    with pytest.raises(ObjectChanged):
        storage.read_range(uri, 3, 9)
    with pytest.raises(ObjectChanged):
        storage.read_range(uri, 7, 9)


def test_a_missing_object_is_missing_and_nothing_else(root, storage):
    uri = join_uri(root, "nothing")
    for read in (storage.read_bytes, storage.head, lambda u: storage.read_range(u, 0, 1)):
        with pytest.raises(ObjectMissing, match="nothing"):
            read(uri)
    assert not storage.exists(uri)
    assert not storage.exists(root)
    storage.delete(uri)


def test_a_deleted_object_is_gone(root, storage):
    uri = join_uri(root, "a")
    storage.put(uri, b"x")
    storage.delete(uri)
    assert not storage.exists(uri)


def test_a_read_with_the_pinned_etag_refuses_another_object(root, storage):
    uri = join_uri(root, "a")
    storage.put(uri, b"pinned")
    etag = storage.head(uri).etag
    assert storage.read_bytes(uri, etag) == b"pinned"
    assert storage.read_range(uri, 1, 3, etag) == b"in"
    storage.put(uri, b"somebody else's")
    with pytest.raises(ObjectChanged):
        storage.read_bytes(uri, etag)
    with pytest.raises(ObjectChanged):
        storage.read_range(uri, 1, 3, etag)


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


def test_a_file_system_without_hard_links_is_written_to_by_looking_first(tmp_path, monkeypatch, caplog):
    def link(*_: object) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr("pipeline.storage.local.os.link", link)
    probed = Storage().probe_conditions(str(tmp_path))
    assert not probed.options.create_only_puts
    assert probed.options.conditional_replaces
    assert "does not keep create-only puts;" in caplog.text
    probed.create(str(tmp_path / "one"), b"first")
    with pytest.raises(ObjectExists):
        probed.create(str(tmp_path / "one"), b"second")


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


def test_listing_is_in_byte_order_of_whole_keys_at_any_depth(root, storage):
    keys = ["a", "a-b", "a.jpg", "a/b", "a/c/d", "a0", "B", "z/ä", "z/é"]
    if not root.startswith("s3"):
        keys.remove("a")  # a disk cannot hold a file beside a folder of the same name
    for key in keys:
        storage.put(join_uri(root, "in", key), key.encode())
    storage.put(join_uri(root, "in2/other"), b"x")
    found = list(storage.list(join_uri(root, "in")))
    assert [info.uri.removeprefix(join_uri(root, "in/")) for info in found] == sorted(keys, key=str.encode)
    for info in found:
        assert storage.read_bytes(info.uri, info.etag) == info.uri.rpartition("/in/")[2].encode()
        assert info.size_bytes == len(storage.read_bytes(info.uri))


def test_listing_a_folder_that_is_not_there_yields_nothing(root, storage):
    assert list(storage.list(join_uri(root, "nowhere"))) == []


def test_listing_goes_over_many_pages(s3_bucket, storage, monkeypatch):
    for number in range(25):
        s3_bucket.write(f"in/{number:03d}", b"x")
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "10")
    assert s3_bucket.client.list_objects_v2(Bucket=s3_bucket.name)["IsTruncated"]
    assert [info.uri[-3:] for info in storage.list(f"{s3_bucket.uri}/in")] == [f"{n:03d}" for n in range(25)]


def test_the_marker_of_an_s3_folder_is_no_object(s3_bucket, storage):
    s3_bucket.write("in/", b"")
    s3_bucket.write("in/a", b"x")
    assert [info.uri for info in storage.list(f"{s3_bucket.uri}/in/")] == [f"{s3_bucket.uri}/in/a"]


def test_a_pickled_storage_works_and_carries_no_secret(s3_bucket, storage):
    storage.put(f"{s3_bucket.uri}/a", b"x")
    pickled = pickle.dumps(storage)
    assert b"test-secret" not in pickled
    assert b"test-key" not in pickled
    assert pickle.loads(pickled).read_bytes(f"{s3_bucket.uri}/a") == b"x"


def test_a_missing_bucket_is_a_storage_error_and_no_missing_object(s3_bucket, storage):
    for operation in (
        lambda: storage.read_bytes("s3://no-such-bucket/a"),
        lambda: storage.put("s3://no-such-bucket/a", b""),
        lambda: list(storage.list("s3://no-such-bucket/in")),
    ):
        with pytest.raises(StorageError, match="no such bucket") as caught:
            operation()
        assert type(caught.value) is StorageError


def test_missing_credentials_are_a_storage_error_that_says_what_to_set(s3_bucket, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    forget_clients()
    with pytest.raises(StorageError, match="AWS_ACCESS_KEY_ID"):
        IMPATIENT.read_bytes(f"{s3_bucket.uri}/a")


def test_a_dead_server_is_a_storage_error_within_the_deadline(s3_bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget_clients()
    with pytest.raises(StorageError, match=r"s3://b/a: read failed .* within 2 s") as caught:
        IMPATIENT.read_bytes("s3://b/a")
    assert type(caught.value) is StorageError


def test_a_file_that_may_not_be_read_is_a_storage_error_and_no_image_failure(tmp_path, storage):
    path = tmp_path / "a"
    path.write_bytes(b"x")
    path.chmod(0)
    try:
        path.read_bytes()
    except PermissionError:
        with pytest.raises(StorageError, match="give this user access") as caught:
            storage.read_bytes(str(path))
        assert type(caught.value) is StorageError
    else:
        pytest.skip("this user may read everything")


def test_a_local_create_that_dies_before_the_link_leaves_nothing_that_counts(tmp_path, storage, monkeypatch):
    def die(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.link", die)
    with pytest.raises(KeyboardInterrupt):
        storage.create(str(tmp_path / "a"), b"x")
    assert list(tmp_path.iterdir()) == []


def test_unfinished_files_of_killed_writers_are_not_listed(tmp_path, storage):
    (tmp_path / ".0123.unfinished").write_bytes(b"half")
    (tmp_path / "a").write_bytes(b"x")
    assert [info.uri for info in storage.list(str(tmp_path))] == [str(tmp_path / "a")]


def test_links_are_followed_and_dangling_ones_are_listed_as_missing(tmp_path, storage):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.jpg").write_bytes(b"x")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/gone.jpg").symlink_to(tmp_path / "nowhere")
    found = list(storage.list(str(tmp_path / "in")))
    assert [Path(info.uri).name for info in found] == ["a.jpg", "gone.jpg"]
    with pytest.raises(ObjectMissing):
        storage.read_bytes(found[1].uri, found[1].etag)


def test_a_link_that_leads_back_up_is_named_instead_of_followed_for_ever(tmp_path, storage):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/loop").symlink_to(tmp_path)
    with pytest.raises(ConfigurationError, match="loop"):
        list(storage.list(str(tmp_path)))


def test_a_file_uri_and_a_path_are_the_same_place(tmp_path, storage):
    storage.put((tmp_path / "with space").as_uri(), b"x")
    assert storage.read_bytes(str(tmp_path / "with space")) == b"x"
