"""A real S3 store for tests: a Ceph cluster of one monitor, one memory store and one gateway, on loopback.

    apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-common

The daemons stay in the foreground as children of this process and are ended one by one. The gateway can be
killed and started again without losing what it acknowledged: the objects lie in the memory of the OSD.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import boto3
from support.ports import free_port
from support.s3 import Bucket

__all__ = ["CephStore", "missing_programs", "started_ceph"]

_PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "ceph", "monmaptool")
_KEY, _SECRET = "ceph-test-key", "ceph-test-secret"
_PATIENCE_S = 120

_CONFIGURATION = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_port}/0]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = false
ms mon client mode = crc
ms client mode = crc
mon data = {folder}/mon
osd data = {folder}/osd
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
pid file = {folder}/run/$name.pid
log file = {folder}/$name.log
mon cluster log file = {folder}/cluster.log
mon data avail warn = 2
mon data avail crit = 1
mon allow pool size one = true
mon max pg per osd = 1000
mon tick interval = 1
paxos propose interval = 0.05
paxos min wait = 0.01
osd objectstore = memstore
memstore device bytes = 1073741824
osd memory target = 939524096
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd class update on start = false
osd client watch timeout = 2
[client.rgw]
rgw data = {folder}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port} {tls}
rgw enable usage log = false
rgw crypt require ssl = false
rgw thread pool size = 16
"""


def missing_programs() -> list[str]:
    """What would have to be installed."""
    return [name for name in (*_PROGRAMS, "openssl") if shutil.which(name) is None]


@dataclass
class CephStore:
    """A running store; see `started_ceph`.

    Attributes:
        folder: of configuration, keys and logs.
        port: of the gateway's HTTP endpoint.
        tls_port: of its HTTPS endpoint, whose certificate is `folder/tls.crt`.
    """

    folder: Path
    port: int
    tls_port: int
    _gateway: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The HTTP endpoint."""
        return f"http://127.0.0.1:{self.port}"

    def environment(self, url: str | None = None) -> dict[str, str]:
        """The variables with which a process uses this store."""
        return {
            "AWS_ACCESS_KEY_ID": _KEY,
            "AWS_SECRET_ACCESS_KEY": _SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": url or self.url,
            "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
            "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
        }

    def tls_environment(self) -> dict[str, str]:
        """The same through HTTPS, trusting the store's own certificate."""
        url = f"https://127.0.0.1:{self.tls_port}"
        return self.environment(url) | {"AWS_CA_BUNDLE": str(self.folder / "tls.crt")}

    def make_bucket(self) -> Bucket:
        """A new bucket under a name of its own."""
        client = boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=_KEY,
            aws_secret_access_key=_SECRET,
            region_name="us-east-1",
            config=boto3.session.Config(request_checksum_calculation="when_required"),
        )
        name = f"test-{uuid4().hex}"
        client.create_bucket(Bucket=name)
        return Bucket(name, client)

    def kill_gateway(self) -> None:
        """End the gateway as a crash would."""
        assert self._gateway is not None
        self._gateway.kill()
        self._gateway.wait()

    def start_gateway(self) -> None:
        """Start the gateway, and return when it answers."""
        self._gateway = _start(self.folder, "radosgw", "-n", "client.rgw")
        deadline = time.monotonic() + _PATIENCE_S
        while not self._answers():
            if time.monotonic() > deadline or self._gateway.poll() is not None:
                raise RuntimeError(f"the gateway does not answer; see {self.folder}/client.rgw.log")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self.url, timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True


@contextmanager
def started_ceph(folder: Path) -> Iterator[CephStore]:
    """A store that lives as long as the block; `folder` must be new and its path short (it holds sockets)."""
    store = CephStore(folder, free_port(), free_port())
    _prepare(store)
    daemons = []
    try:
        daemons.append(_start(folder, "ceph-mon", "-i", "a"))
        osd = str(uuid4())
        _call(folder, "ceph", "osd", "new", osd)
        _call(folder, "ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        daemons.append(_start(folder, "ceph-osd", "-i", "0"))
        store.start_gateway()
        keys = ("--access-key", _KEY, "--secret", _SECRET)
        _call(folder, "radosgw-admin", "user", "create", "--uid=test", "--display-name=test", *keys)
        yield store
    finally:
        gateway = [store._gateway] if store._gateway is not None else []
        for daemon in [*gateway, *reversed(daemons)]:
            daemon.kill()
            daemon.wait()


def _prepare(store: CephStore) -> None:
    folder, fsid, mon_port = store.folder, str(uuid4()), free_port()
    for name in ("mon", "osd", "run", "rgw"):
        (folder / name).mkdir(parents=True)
    tls = f"ssl_endpoint=127.0.0.1:{store.tls_port} ssl_certificate={folder}/tls.pem"
    text = _CONFIGURATION.format(fsid=fsid, folder=folder, mon_port=mon_port, port=store.port, tls=tls)
    (folder / "ceph.conf").write_text(text)
    _make_certificate(folder)
    address = f"[v2:127.0.0.1:{mon_port}]"
    subprocess.run(
        ["monmaptool", "--create", "--fsid", fsid, "--addv", "a", address, str(folder / "monmap")],
        check=True,
        capture_output=True,
    )
    _call(folder, "ceph-mon", "-i", "a", "--mkfs", "--monmap", str(folder / "monmap"))


def _make_certificate(folder: Path) -> None:
    key, certificate = folder / "tls.key", folder / "tls.crt"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    (folder / "tls.pem").write_bytes(key.read_bytes() + certificate.read_bytes())


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}


def _start(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    with (folder / f"{command[0]}.out").open("ab") as out:
        return subprocess.Popen(
            [*command, "-f", "-c", str(folder / "ceph.conf")],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=_environment(),
        )


def _call(folder: Path, *command: str) -> None:
    done = subprocess.run(
        [*command, "-c", str(folder / "ceph.conf")],
        check=False,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_S,
        env=_environment(),
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
