"""Drivers are stopped, continued and killed at any call of the store, while others take over.

Replies of their writes are lost, writes arrive twice, or long after the driver gave them up.

It is the real code of runs and of `retry-failed`, with another network and a store in memory.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.rows import result_of, some_poses
from support.stepped_store import Process, Store

from pipeline.driver.retry import try_again
from pipeline.driver.run import Job, go_on
from pipeline.inputs.manifest import Manifest
from pipeline.inputs.units import LoadedImage, ObjectRef
from pipeline.output.lock import Clock, RunLock
from pipeline.output.outcome import Outcome
from pipeline.output.record import Fingerprint, NetworkIdentity, RunRecord
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import unit_table
from pipeline.output.unit_footer import encode_unit
from pipeline.output.writer import OutputWriter
from pipeline.settings.run import RunSettings
from pipeline.stages.retried_units import commit_again
from pipeline.storage import Storage
from posrefine.errors import ImageStatus, ObjectExists, OutputLocked

EXPIRY_S = 60.0
START = datetime(2026, 1, 1, tzinfo=UTC)
IN, OUT = "s3://photos/in", "s3://results/out"


@dataclass
class World:
    """A store with images, a time that only the test lets pass, and the drivers at work."""

    store: Store = field(default_factory=Store)
    time_s: float = 0.0
    drivers: list[Process] = field(default_factory=list)
    generations: dict[str, int] = field(default_factory=dict)

    def start(self, work: Callable[[World, str, Storage], Outcome], skew_s: float) -> Process:
        """A driver, on a machine whose clock is wrong by so much."""
        name = f"{work.__name__} {len(self.drivers)}"
        driver = Process(name, lambda storage: work(self, name, storage), self.store)
        self.drivers.append(driver)
        self.skews[name] = skew_s
        return driver

    skews: dict[str, float] = field(default_factory=dict)


@dataclass
class SharedTime(Clock):
    """The time of a machine of the world."""

    world: World
    skew_s: float

    def seconds(self) -> float:
        return self.world.time_s

    def now(self) -> datetime:
        return START + timedelta(seconds=self.world.time_s + self.skew_s)

    def sleep(self, seconds: float) -> None:
        self.world.time_s += seconds


class OtherNetwork:
    """Takes the place of `Drive`: an image is fine where its bytes say so."""

    tally = None

    def annotate(
        self,
        pending: Sequence[str],
        manifest: Manifest,
        record: RunRecord,
        writer: OutputWriter,
        *,
        again: object = None,
    ) -> None:
        encode = partial(
            encode_unit,
            metadata=record.table_metadata().encode(),
            min_score=record.min_score,
            committed_at=START,
        )
        for unit_id in pending:
            writer.lock.beat()
            writer.lock.check()
            entries = [
                self._now(entry, writer) if again else entry for entry in manifest.unit(unit_id).objects
            ]
            rows = unit_table(unit_id, [self._row(entry, writer) for entry in entries])
            if again:
                commit_again(writer.output, writer.lock.witness, unit_id, rows, encode)
                continue
            try:
                writer.output.storage.create(writer.output.tree.unit(unit_id), encode(rows))
            except ObjectExists:
                continue

    def _now(self, entry: ObjectRef, writer: OutputWriter) -> ObjectRef:
        return replace(entry, etag=writer.output.storage.head(entry.uri).etag)

    def _row(self, entry: ObjectRef, writer: OutputWriter) -> Any:
        data = writer.output.storage.read_bytes(entry.uri)
        status = ImageStatus.OK if data.startswith(b"good") else ImageStatus.TRUNCATED
        persons = some_poses(1, len(data)) if status is ImageStatus.OK else None
        return result_of(LoadedImage(entry.key, entry.uri, status), persons)


def settings_of_the_run() -> RunSettings:
    given = {"input": IN, "output": OUT, "model": "m", "weights": "w", "unit_images": 2, "table_units": 1}
    return RunSettings(**given, max_error_rate=1.0, precision="float32", replaced_grace_s=0)


def held(world: World, name: str, storage: Storage) -> tuple[RunOutput, RunLock]:
    output = RunOutput.at(OUT, storage)
    clock = SharedTime(world, world.skews[name])
    return output, RunLock(storage, output.tree.lock, EXPIRY_S, clock=clock, beats=False)


def run(world: World, name: str, storage: Storage) -> Outcome:
    output, lock = held(world, name, storage)
    chosen = settings_of_the_run()
    fingerprint = Fingerprint.of(chosen, NetworkIdentity("0", None, "official", 64), None)
    job = Job(chosen, output, _NoNote(), None, fingerprint, START)  # type: ignore[arg-type]
    with lock:
        world.generations[name] = lock.generation
        return go_on(job, OutputWriter(output, lock), OtherNetwork())  # type: ignore[arg-type]


def retry(world: World, name: str, storage: Storage) -> Outcome:
    output, lock = held(world, name, storage)
    record = output.require_record()
    with lock:
        world.generations[name] = lock.generation
        return try_again(OutputWriter(output, lock), record, OtherNetwork(), True, START)  # type: ignore[arg-type]


def repaired_retry(world: World, name: str, storage: Storage) -> Outcome:
    for number in (1, 3):
        world.store.objects[f"{IN}/{number}.jpg"] = b"good again"
    return retry(world, name, storage)


class _NoNote:
    note = None


WRITES = [
    *("lock", "manifest", "run.json", "units", "tables/images/part-g0001-00001", "tables/persons"),
    *("tables/images/_delta_log", "_SUCCESS", "outcome"),
]
MOVES = st.one_of(
    st.tuples(st.just("go on"), st.integers(0, 2), st.integers(1, 25)),
    st.tuples(st.just("go on to"), st.integers(0, 2), st.sampled_from(WRITES)),
    st.tuples(st.just("go on to"), st.integers(0, 2), st.sampled_from(WRITES)),
    st.tuples(st.just("end"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("time passes"), st.sampled_from([20, 61, 200]), st.just(0)),
    st.tuples(st.just("kill"), st.integers(0, 2), st.just(0)),
    st.tuples(st.just("next write"), st.integers(0, 2), st.sampled_from(["lost", "late", "twice"])),
    st.tuples(st.just("land"), st.just(0), st.just(0)),
    st.tuples(st.just("repair"), st.integers(0, 4), st.just(0)),
    st.tuples(st.just("upload"), st.integers(5, 7), st.just(0)),
)


def test_every_place_at_which_drivers_are_stopped_is_one_that_they_write_to():
    for place in [*WRITES, "tables/persons/part-g0001-00002"]:
        world = World()
        for number in range(5):
            world.store.objects[f"{IN}/{number}.jpg"] = b"good"
        driver = world.start(run, 0.0)
        driver.go_on_to_write(place)
        assert not driver.over, place
        driver.finish()


@settings(deadline=None, max_examples=100)
@given(
    works=st.lists(st.sampled_from([run, retry]), min_size=2, max_size=3),
    skews=st.lists(st.sampled_from([0.0, -3600.0, 86_400.0]), min_size=3, max_size=3),
    moves=st.lists(MOVES, max_size=40),
)
@example(  # planning sleeps while another one completes
    works=[run, run],
    skews=[0.0, 0.0, 0.0],
    moves=[("go on", 0, 9), ("time passes", 61, 0), ("upload", 6, 0), ("go on", 1, 25), ("go on", 1, 25)],
)
@example(  # asleep right before its outcome, while images are repaired and tried again
    works=[run, retry],
    skews=[0.0, 0.0, 0.0],
    moves=[("go on to", 0, "outcome"), ("time passes", 61, 0), ("repair", 1, 0), ("end", 1, 0)],
)
@example(  # asleep right before the last table, and before the tables are declared finished
    works=[run, retry, retry],
    skews=[0.0, 0.0, 0.0],
    moves=[
        ("go on to", 0, "tables/persons/part-g0001-00002"),
        ("time passes", 61, 0),
        ("repair", 1, 0),
        ("go on to", 1, "_SUCCESS"),
        ("time passes", 61, 0),
        ("repair", 3, 0),
        ("end", 2, 0),
    ],
)
@example(  # the put of a table arrives after others have repaired what it holds
    works=[run, retry],
    skews=[0.0, 0.0, 0.0],
    moves=[
        ("go on to", 0, "tables/images/part-g0001-00001"),
        ("next write", 0, "late"),
        ("end", 0, 0),
        ("time passes", 200, 0),
        ("repair", 3, 0),
        ("end", 1, 0),
        ("land", 0, 0),
    ],
)
def test_whoever_sleeps_and_wakes_nothing_stale_is_left(
    works: list[Any], skews: list[float], moves: list[tuple[str, int, Any]]
):
    world = World()
    for number in range(5):
        world.store.objects[f"{IN}/{number}.jpg"] = b"bad" if number % 2 else b"good"
    drivers = [world.start(work, skew) for work, skew in zip([run, *works[1:]], skews, strict=False)]
    try:
        for move, which, steps in moves:
            if move == "go on":
                for _ in range(steps):
                    drivers[which % len(drivers)].step()
            elif move == "go on to":
                drivers[which % len(drivers)].go_on_to_write(str(steps))
            elif move == "end":
                drivers[which % len(drivers)].finish()
            elif move == "kill":
                drivers[which % len(drivers)].kill()
            elif move == "next write":
                drivers[which % len(drivers)].next_write = steps
            elif move == "land":
                world.store.land()
            elif move == "time passes":
                world.time_s += which
            else:
                world.store.objects[f"{IN}/{which}.jpg"] = b"good now"
        for driver in reversed(drivers):
            driver.finish()
        for _ in range(2):
            complete(world)
            while world.store.late:
                world.store.land()
        complete(world)
        require_no_late_writes(world)
        require_true_tables(world)
    finally:
        for driver in world.drivers:
            driver.kill()
    for driver in drivers:
        assert driver.error is None or isinstance(driver.error, OutputLocked) or _may_say(driver), (
            driver.error
        )


def complete(world: World) -> None:
    """Nobody sleeps any more: the run is completed, and images are repaired and tried again."""
    for work in (run, repaired_retry):
        world.time_s += 1000
        last = world.start(work, 0.0)
        last.finish()
        assert last.error is None, last.error


def _may_say(driver: Process) -> bool:
    """No answer of the store; or a retry that came before the run had begun, or before it had finished."""
    words = ["no answer"]
    if driver.name.startswith("retry"):
        words += ["no run has begun", "units are not finished"]
    return any(said in str(driver.error) for said in words)


def require_no_late_writes(world: World) -> None:
    """Of the objects that are written over, no older holder of the lease writes after a younger one."""
    youngest: dict[str, int] = {}
    for name, call, uri in world.store.log:
        where = uri.removeprefix(OUT)
        if call == "delete" or where.startswith(("/units", "/lock", "/manifest")):
            continue
        generation = world.generations[name]
        assert generation >= youngest.get(where, 0), f"{name} wrote {where} after a younger holder"
        youngest[where] = generation
    assert sum(uri.endswith("/run.json") for _, _, uri in world.store.log) <= 1


def require_true_tables(world: World) -> None:
    """Every image of the manifest once, as it is now, in units and tables alike; and the outcome says so."""
    objects = world.store.objects
    record = RunRecord.model_validate_json(objects[f"{OUT}/run.json"])
    assert f"{OUT}/manifest-{record.manifest_digest[:16]}.parquet" in objects
    units = rows_below(objects, "units")
    tables = rows_below(objects, "tables/images")
    columns = ["uri", "status", "unit"]
    assert tables.select(columns).to_pylist() == units.select(columns).to_pylist()
    found = dict(zip(tables["uri"].to_pylist(), tables["status"].to_pylist(), strict=True))
    assert len(found) == len(tables) >= 5
    assert found == {uri: "ok" if objects[uri].startswith(b"good") else "truncated" for uri in found}
    outcome = Outcome.model_validate_json(objects[f"{OUT}/outcome.json"])
    assert outcome.complete
    assert outcome.images.get("ok", 0) == list(found.values()).count("ok")
    assert json.loads(objects[f"{OUT}/lock.json"])["released"]


def rows_below(objects: dict[str, bytes], folder: str) -> pa.Table:
    uris = sorted(uri for uri in objects if uri.startswith(f"{OUT}/{folder}/") and uri.endswith(".parquet"))
    return pa.concat_tables(
        [pq.read_table(io.BytesIO(objects[uri])).replace_schema_metadata() for uri in uris]
    )
