"""Secrets in the environment of a run are in nothing that it writes, however much it is made to say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from support.annotation import SETTINGS, some_images
from support.faultproxy import FaultProxy
from support.ports import free_port
from support.ray_cluster import started_cluster
from support.s3 import Bucket, S3Server

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")]

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "wJalrSECRETonlyfortests0123456789abcdefgh",
    "AWS_SESSION_TOKEN": "FwoGZXIvYSESSIONTOKENonlyfortests0123456789",
}
IN_ADDRESSES = {"a token": "TOKENonlyfortests0123456789", "a signature": "SIGNATUREonlyfortests0123456789"}
TALKATIVE_JOB = Path(__file__).parents[1] / "support" / "talkative_job.py"


@pytest.fixture(scope="module")
def proxy(s3_server: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(s3_server.host, s3_server.port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def environment(s3_server: S3Server, proxy: FaultProxy) -> dict[str, str]:
    return s3_server.environment(proxy.url) | SECRETS


@pytest.fixture(scope="module")
def cluster(environment: dict[str, str]) -> Iterator[str]:
    with started_cluster(environment) as address:
        yield address


@pytest.fixture(scope="module")
def bucket(s3_server: S3Server) -> Bucket:
    bucket = s3_server.make_bucket()
    for name, data in some_images(6).items():
        bucket.write(f"images/{name}", data)
    return bucket


def run(cluster: str, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """The job in a process of its own that logs everything."""
    return subprocess.run(
        [sys.executable, str(TALKATIVE_JOB), *arguments],
        env=os.environ | environment | {"RAY_ADDRESS": cluster},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def logs_of_session() -> dict[Path, bytes]:
    folder = Path(ray._private.worker.global_worker.node.get_session_dir_path())
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def everything_in(bucket: Bucket) -> dict[str, bytes]:
    """Every object, and the metadata of every Parquet file as text."""
    objects = {key: bucket.read(key) for key in bucket.keys()}  # noqa: SIM118 - a bucket is no mapping
    footers = {
        f"{key} (metadata)": repr(pq.read_metadata(pa.BufferReader(data)).metadata).encode()
        for key, data in objects.items()
        if key.endswith(".parquet")
    }
    return objects | footers


def presigned_weights(bucket: Bucket) -> list[str]:
    """A run whose weights have an address of a kind that is not supported, and that ends with an error."""
    weights = f"https://127.0.0.1/w.pth?X-Amz-Signature={IN_ADDRESSES['a signature']}&X-Amz-Expires=60"
    places = ["--input", f"{bucket.uri}/images", "--output", f"{bucket.uri}/presigned"]
    return ["run", *places, "--model", "posrefine_tiny", "--weights", weights]


def test_secrets_are_in_nothing_that_a_run_or_its_errors_write(
    cluster: str, environment: dict[str, str], proxy: FaultProxy, bucket: Bucket
):
    job = ["run", "--input", f"{bucket.uri}/images", "--output", f"{bucket.uri}/out", *SETTINGS]
    proxy.add("403", method="PUT", path="/units/", times=1000)
    refused = run(cluster, environment, *job)
    assert refused.returncode == 1, refused.stderr[-3000:]
    proxy.heal()
    proxy.add("503", path="/units/", times=2)
    proxy.add("reset", method="GET", path="/images/.*png", times=2)
    gateway = {"POSREFINE_PUSHGATEWAY": f"http://127.0.0.1:{free_port()}?token={IN_ADDRESSES['a token']}"}
    done = run(cluster, environment | gateway, *job)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "?token=***" in done.stderr
    presigned = run(cluster, environment, *presigned_weights(bucket))
    assert presigned.returncode == 2
    assert "X-Amz-Signature=***" in presigned.stderr
    status = run(cluster, environment, "status", "--output", f"{bucket.uri}/out")
    nowhere = run(cluster, environment, "status", "--output", "s3://no-such-bucket/out")
    assert (status.returncode, nowhere.returncode) == (0, 1)

    written: dict[object, bytes] = everything_in(bucket) | logs_of_session()
    processes = {"refused": refused, "done": done, "presigned": presigned}
    processes |= {"status": status, "nowhere": nowhere}
    for name, process in processes.items():
        written |= {f"{name} out": process.stdout.encode(), f"{name} err": process.stderr.encode()}
    workers = b"".join(text for key, text in written.items() if "worker-" in str(key))
    assert "DEBUG:" in done.stderr, "the driver was not made to talk"
    assert b"DEBUG:" in workers, "the workers were not made to talk"
    for name, secret in {**SECRETS, **IN_ADDRESSES}.items():
        found = [str(key) for key, text in written.items() if secret.encode() in text]
        assert not found, f"{name} is in {found}"
