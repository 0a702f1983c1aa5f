"""What every test stands on: an environment without the user's settings, and a real S3 server on loopback.

The S3 parts are imported where they are used, so that tests without storage start fast.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from support.s3 import Bucket, S3Server

settings.register_profile("suite", deadline=None, max_examples=40)
settings.load_profile("suite")


def pytest_configure(config: pytest.Config) -> None:
    """What must stand in the environment before Torch and Ray are there, also for processes that tests start.

    Ray notes a running cluster in its folder and joins it from there: every process of tests has its own.
    Ray's sockets lie in it, and socket paths are short.

    OpenMP's threads wait for each other by spinning. Where other processes have the cores, that takes a
    hundred times the work itself, and the tests' networks are small.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    config.ray_folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")  # type: ignore[attr-defined]
    os.environ["RAY_TMPDIR"] = config.ray_folder  # type: ignore[attr-defined]
    # Ray notes there which cluster it joined, also one whose own folder is elsewhere.
    Path(config.ray_folder, "ray").mkdir()  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.ray_folder, ignore_errors=True)  # type: ignore[attr-defined]


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


@pytest.fixture(autouse=True)
def own_signal_handlers() -> Iterator[None]:
    """A job that runs in this process leaves its handler of SIGTERM behind; the next test does not get it."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a Ray cluster of the module's own, to which this process is connected."""
    from support.ray_cluster import started_cluster

    with started_cluster({}) as address:
        yield address


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
