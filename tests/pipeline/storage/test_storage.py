"""What every store does, and what tells a missing object from a store that is away."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from pipeline.storage import Storage, StorageOptions, forget_clients
from pipeline.storage.uris import join_uri
from posrefine.errors import (
    ConfigurationError,
    ObjectChanged,
    ObjectMissing,
    StorageError,
)

IMPATIENT = Storage(StorageOptions(deadline_s=2.0, connect_timeout_s=0.5, read_timeout_s=0.5, attempts=1))


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
