"""What every test stands on: an environment without the user's settings, and a real S3 server on loopback.

The S3 parts are imported where they are used, so that tests without storage start fast.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from support.s3 import Bucket, S3Server

settings.register_profile("suite", deadline=None, max_examples=40)
settings.load_profile("suite")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No credentials, endpoint or run setting of the user reaches a test, and no cloud is asked for any."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "POSREFINE_", "FSSPEC_")):
            monkeypatch.delenv(name)
    nowhere = str(tmp_path_factory.getbasetemp() / "no-such-file")
    monkeypatch.setenv("AWS_CONFIG_FILE", nowhere)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", nowhere)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    """A moto server on 127.0.0.1, shared by the session; tests get buckets of it."""
    from support.s3 import S3Server

    with S3Server() as server:
        yield server


@pytest.fixture
def s3_bucket(
    s3_server: S3Server, clean_environment: None, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Bucket]:
    """An empty bucket, with the AWS environment set so that it can be used."""
    from pipeline.storage import forget_clients

    bucket = s3_server.make_bucket()
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    forget_clients()
    yield bucket
    forget_clients()
