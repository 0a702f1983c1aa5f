"""A local file becomes an object by one put, without being read into memory first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.storage import Storage
from posrefine.errors import StorageError


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest) -> str:
    if request.param == "local":
        return str(request.getfixturevalue("tmp_path") / "store")
    return str(request.getfixturevalue("s3_bucket").uri)


@pytest.mark.parametrize("size_bytes", [0, 1, 20_000_003])
def test_the_object_is_the_file(root: str, tmp_path: Path, size_bytes: int):
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size_bytes))
    Storage().put_file(f"{root}/a/b", path)
    assert Storage().read_bytes(f"{root}/a/b") == path.read_bytes()
    assert [found.uri for found in Storage().list(root)] == [f"{root}/a/b"]


def test_what_was_there_is_replaced(root: str, tmp_path: Path):
    Storage().put(f"{root}/a", b"old and longer")
    path = tmp_path / "file"
    path.write_bytes(b"new")
    Storage().put_file(f"{root}/a", path)
    assert Storage().read_bytes(f"{root}/a") == b"new"


def test_a_missing_bucket_is_a_storage_error(s3_bucket, tmp_path: Path):
    path = tmp_path / "file"
    path.write_bytes(b"x")
    with pytest.raises(StorageError):
        Storage().put_file("s3://no-such-bucket-anywhere/a", path)
