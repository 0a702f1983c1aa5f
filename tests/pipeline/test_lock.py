"""The lease on an output: one holder, heartbeats, takeover of what is abandoned."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.lock import Lease, RunLock, read_lease
from pipeline.storage import Storage
from posrefine.errors import OutputLocked

STORAGE = Storage()


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return str(tmp_path / "lock.json")


def lease_of(*, pid: int, process_space: str, age_s: float, expiry_s: float = 60) -> Lease:
    return Lease(
        owner="other",
        host="there",
        pid=pid,
        process_space=process_space,
        renewed_at=datetime.now(UTC) - timedelta(seconds=age_s),
        expiry_s=expiry_s,
    )


def test_a_held_output_is_refused_with_its_holder_and_free_again_afterwards(uri: str):
    with RunLock(STORAGE, uri, 60):
        with pytest.raises(OutputLocked, match=r"held by process \d+ on "), RunLock(STORAGE, uri, 60):
            pass
        assert read_lease(STORAGE, uri) is not None
    assert read_lease(STORAGE, uri) is None
    with RunLock(STORAGE, uri, 60):
        pass


def test_the_heartbeat_renews_the_lease(uri: str):
    with RunLock(STORAGE, uri, 1) as lock:
        time.sleep(1.5)
        lease = read_lease(STORAGE, uri)
        assert lease is not None
        assert lease.is_live(datetime.now(UTC))
        lock.check()


def test_an_expired_lease_of_another_machine_is_taken_over(uri: str):
    STORAGE.put(uri, lease_of(pid=1, process_space="elsewhere", age_s=61).model_dump_json().encode())
    with RunLock(STORAGE, uri, 60):
        lease = read_lease(STORAGE, uri)
        assert lease is not None
        assert lease.owner != "other"


def test_a_fresh_lease_of_another_machine_is_respected(uri: str):
    STORAGE.put(uri, lease_of(pid=1, process_space="elsewhere", age_s=1).model_dump_json().encode())
    with pytest.raises(OutputLocked, match="expire after 60 s"), RunLock(STORAGE, uri, 60):
        pass


def test_the_lease_of_a_killed_process_of_this_machine_is_taken_over_at_once(uri: str):
    code = (
        "import sys, time; from pipeline.lock import RunLock; from pipeline.storage import Storage\n"
        "with RunLock(Storage(), sys.argv[1], 3600): print('held', flush=True); time.sleep(60)"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", code, uri], stdout=subprocess.PIPE, cwd=root) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(OutputLocked), RunLock(STORAGE, uri, 60):
            pass
        holder.kill()
        holder.wait()
    with RunLock(STORAGE, uri, 60):
        pass


def test_a_run_whose_lease_was_taken_finds_out_and_leaves_the_new_one_alone(uri: str):
    with RunLock(STORAGE, uri, 0.4) as lock:
        STORAGE.put(uri, lease_of(pid=1, process_space="elsewhere", age_s=0).model_dump_json().encode())
        time.sleep(0.5)
        with pytest.raises(OutputLocked, match="lost to another run"):
            lock.check()
    lease = read_lease(STORAGE, uri)
    assert lease is not None
    assert lease.owner == "other"


def test_a_record_of_another_version_is_not_overrun(uri: str):
    STORAGE.put(uri, b'{"version": 99}')
    with pytest.raises(OutputLocked, match="no lease of this version"), RunLock(STORAGE, uri, 60):
        pass
