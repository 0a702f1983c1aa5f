"""The lease on an output: one holder, heartbeats, takeover of what is abandoned."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipeline.output.lease import Lease, read_lease
from pipeline.output.lock import Clock, RunLock
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
        generation=7,
    )


def holder(uri: str) -> Lease | None:
    """The lease, unless it was given back."""
    lease = read_lease(STORAGE, uri)
    return None if lease is None or lease.released else lease


class StillClock(Clock):
    """Goes on only when somebody sleeps, and lets something happen then."""

    def __init__(self, happens: Callable[[], None] = lambda: None) -> None:
        self.time_s, self._happens = 0.0, happens

    def seconds(self) -> float:
        return self.time_s

    def sleep(self, seconds: float) -> None:
        self.time_s += seconds
        self._happens()


def still_lock(uri: str, clock: StillClock, expiry_s: float = 60) -> RunLock:
    """A lock without a heartbeat of its own."""
    return RunLock(STORAGE, uri, expiry_s, clock=clock, beats=False)


def put_lease(uri: str, lease: Lease) -> None:
    STORAGE.put(uri, lease.model_dump_json().encode())


def test_a_held_output_is_refused_with_its_holder_and_free_again_afterwards(uri: str):
    with RunLock(STORAGE, uri, 60):
        with pytest.raises(OutputLocked, match=r"held by process \d+ on "), RunLock(STORAGE, uri, 60):
            pass
        assert holder(uri) is not None
    assert holder(uri) is None
    with RunLock(STORAGE, uri, 60):
        pass


def test_every_holder_has_a_generation_of_its_own_that_only_grows(uri: str):
    seen = []
    for _ in range(3):
        with RunLock(STORAGE, uri, 60) as lock:
            seen.append(lock.generation)
    assert seen == [1, 2, 3]


def test_the_heartbeat_renews_the_lease(uri: str):
    with RunLock(STORAGE, uri, 1) as lock:
        time.sleep(1.5)
        lease = read_lease(STORAGE, uri)
        assert lease is not None
        assert lease.seems_live(datetime.now(UTC))
        assert lease.beat > 0
        lock.check()


def test_a_lease_that_does_not_change_while_it_is_watched_is_taken_over(uri: str):
    put_lease(uri, lease_of(pid=1, process_space="elsewhere", age_s=61))
    clock = StillClock()
    with still_lock(uri, clock) as lock:
        lock.confirm()
        assert clock.time_s >= 60
        lease = holder(uri)
        assert lease is not None
        assert (lease.owner, lease.generation) == (lock.witness.owner, 8)


def test_a_lease_that_changes_while_it_is_watched_is_respected_however_old_it_says_it_is(uri: str):
    lease = lease_of(pid=1, process_space="elsewhere", age_s=86_400)
    put_lease(uri, lease)
    beats = iter(range(1, 100))
    clock = StillClock(lambda: put_lease(uri, lease.model_copy(update={"beat": next(beats)})))
    with pytest.raises(OutputLocked, match="held by process 1"), still_lock(uri, clock):
        pass
    assert clock.time_s < 60


def test_a_lease_from_a_clock_that_is_a_day_ahead_locks_no_longer_than_it_lives(uri: str):
    put_lease(uri, lease_of(pid=1, process_space="elsewhere", age_s=-86_400))
    with still_lock(uri, StillClock()) as lock:
        lock.confirm()


def test_a_fresh_lease_of_another_machine_is_respected_at_once(uri: str):
    put_lease(uri, lease_of(pid=1, process_space="elsewhere", age_s=1))
    clock = StillClock()
    with pytest.raises(OutputLocked, match="expire after 60 s"), still_lock(uri, clock):
        pass
    assert clock.time_s == 0


def test_of_two_that_take_over_the_same_lease_at_the_same_moment_one_holds_it(uri: str):
    put_lease(uri, lease_of(pid=1, process_space="elsewhere", age_s=61))
    other = still_lock(uri, StillClock())
    entered = []

    def come_first() -> None:
        if not entered:
            entered.append(other.__enter__())

    class Hasty(StillClock):
        def sleep(self, seconds: float) -> None:
            self.time_s += seconds
            if self.time_s >= 60:
                come_first()

    with pytest.raises(OutputLocked), still_lock(uri, Hasty()):
        pass
    entered[0].confirm()


def test_a_heartbeat_that_hung_longer_than_the_lease_lives_does_not_take_it_back(uri: str):
    clock = StillClock()
    lock = still_lock(uri, clock)
    with lock:
        clock.time_s += 15
        lock.beat()
        lock.confirm()
        clock.time_s += 61
        lock.beat()
        with pytest.raises(OutputLocked, match="lost to another run"):
            lock.confirm()
        lease = holder(uri)
        assert lease is not None
        assert lease.beat == 1


def test_a_heartbeat_does_not_write_over_a_lease_that_was_taken(uri: str):
    clock = StillClock()
    with still_lock(uri, clock) as lock:
        put_lease(uri, lease_of(pid=1, process_space="elsewhere", age_s=0))
        lock.beat()
        with pytest.raises(OutputLocked):
            lock.check()
    lease = holder(uri)
    assert lease is not None
    assert lease.owner == "other"


def test_whoever_lost_the_lease_finds_out_when_it_looks_before_it_writes(uri: str):
    with still_lock(uri, StillClock()) as lock:
        lock.confirm()
        put_lease(uri, lease_of(pid=1, process_space="elsewhere", age_s=0))
        lock.check()
        with pytest.raises(OutputLocked):
            lock.confirm()
        with pytest.raises(OutputLocked):
            lock.check()


def test_the_lease_of_a_killed_process_of_this_machine_is_taken_over_at_once(uri: str):
    code = (
        "import sys, time; from pipeline.output.lock import RunLock; from pipeline.storage import Storage\n"
        "with RunLock(Storage(), sys.argv[1], 3600): print('held', flush=True); time.sleep(60)"
    )
    root = Path(__file__).parents[3]
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


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("expiry_s", -1.0), ("expiry_s", 0.0), ("expiry_s", "NaN"), ("expiry_s", 1e300), ("expiry_s", 86_401),
        ("renewed_at", "2026-01-01T00:00:00"), ("generation", -1), ("beat", -1), ("pid", 0),
    ],
)  # fmt: skip
def test_a_lease_that_nobody_can_have_written_is_refused_by_name(uri: str, field: str, value: object):
    lease = json.loads(lease_of(pid=1, process_space="elsewhere", age_s=61).model_dump_json())
    STORAGE.put(uri, json.dumps(lease | {field: value}).encode())
    with pytest.raises(OutputLocked, match=rf"(?s)no lease of this version .*{field}.*delete it if no run"):
        read_lease(STORAGE, uri)
    with pytest.raises(OutputLocked, match="no lease of this version"), still_lock(uri, StillClock()):
        pass
