"""A model of a bucket against real syncs: whatever happens to it, the tables are as the bucket is."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.memory_store import Killed, Life, MemoryStorage
from support.shards import make_parquet, make_tar
from support.standing import Standing, persons_in, picture
from support.stepped_store import Store

from pipeline.output.run_output import RunOutput
from pipeline.storage import StorageOptions

IN, OUT = "s3://photos/in", "s3://results/out"
KEYS = ["a.png", "b/c.png", "b/d.png", "e#1.png", "f.png", "z.png"]
TARS = ["b.tar", "y.tar"]
SHARDS = [*TARS, "c.parquet"]

SEEDS = st.integers(-2, 40)
MOVES = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(KEYS), SEEDS),
    st.tuples(st.just("put shard"), st.sampled_from(SHARDS), st.lists(SEEDS, max_size=6).map(tuple)),
    st.tuples(st.just("delete"), st.sampled_from([*KEYS, *SHARDS]), st.just(0)),
    st.tuples(st.just("rename"), st.sampled_from(KEYS), st.sampled_from(KEYS)),
    st.tuples(st.just("rename"), st.sampled_from(TARS), st.sampled_from(TARS)),
    st.tuples(st.just("sync"), st.just(""), st.just(0)),
    st.tuples(st.just("killed sync"), st.just(""), st.integers(0, 45)),
    st.tuples(st.just("retry"), st.just(""), st.just(0)),
    st.tuples(st.just("killed retry"), st.just(""), st.integers(0, 12)),
)


class World:
    """The bucket, and what the tables must hold of it."""

    def __init__(self) -> None:
        self.store = Store()
        self.history: dict[int, list[tuple[str, str, int]]] = {}

    def process(self, writes: int | None = None) -> Standing:
        storage = MemoryStorage(StorageOptions(), self.store, Life(writes))
        return Standing(storage, IN, OUT)

    def put(self, key: str, data: bytes) -> None:
        self.store.objects[f"{IN}/{key}"] = data

    def shard(self, key: str, seeds: tuple[int, ...]) -> bytes:
        members = {f"{number}.png": picture(seed) for number, seed in enumerate(seeds)}
        return make_tar(members) if key.endswith(".tar") else make_parquet(members, rows_per_group=3)

    def model(self) -> list[tuple[str, int]]:
        """Of every image of the bucket: the object it is in, and its persons, -1 where it is none."""
        found = []
        for uri, data in self.store.objects.items():
            if uri.startswith(IN):
                found += [(uri, persons_of(one)) for one in images_in(uri, data)]
        return sorted(found)

    def work(self, kind: str, writes: int | None) -> None:
        """Run it; it may be killed, and whoever comes next finds its lease given up."""
        process = self.process(writes)
        try:
            process.sync() if kind == "sync" else process.retry()
        except Killed:
            self.store.objects.pop(f"{OUT}/lock.json", None)
        self.require_a_generation()
        counts = self.process().output.counts()
        if kind == "retry" and counts is not None:
            # It is the same generation still, with other rows.
            self.history.pop(counts.generation, None)

    def has_begun(self) -> bool:
        return f"{OUT}/run.json" in self.store.objects

    def is_empty(self) -> bool:
        return not self.model()

    def require_a_generation(self) -> None:
        """At any moment the pair of tables that `_SUCCESS.json` names is a generation, whole."""
        if f"{OUT}/tables/_SUCCESS.json" not in self.store.objects:
            return
        output = self.process().output
        counts = output.counts()
        assert counts is not None
        rows = self.process().rows()
        assert len(rows) == counts.images
        assert sum(persons for _, _, persons in rows) == counts.persons + counts.persons_below
        for name in ("images", "persons"):
            snapshots = list(output.log(name).history())
            generations = [snapshot.generation for snapshot in snapshots]
            assert generations == sorted(generations)
            named = snapshots[counts.version_of(name)]
            assert named.generation == counts.generation

    def require_true_tables(self) -> None:
        rows = [(owner(row[0]), persons_or_failed(row)) for row in self.process().rows()]
        assert sorted(rows) == self.model()
        counts = self.process().output.counts()
        assert counts is not None
        self.require_plain_glob(counts.images, counts.persons + counts.persons_below)
        inventories = [uri for uri in self.store.objects if "/inventory-" in uri]
        assert len(inventories) == (counts.generation > 1)
        self.history[counts.generation] = self.process().rows()
        for generation, before in self.history.items():
            assert self.process().rows(generation) == before, f"generation {generation} became another one"

    def require_plain_glob(self, images: int, persons: int) -> None:
        for name, count in (("images", images), ("persons", persons)):
            folder = f"{OUT}/tables/{name}/"
            files = [
                data
                for uri, data in self.store.objects.items()
                if uri.startswith(folder) and "/" not in uri.removeprefix(folder)
            ]
            assert sum(pq.read_metadata(io.BytesIO(data)).num_rows for data in files) == count


def images_in(uri: str, data: bytes) -> list[bytes]:
    if uri.endswith(".parquet"):
        return [row["bytes"] for row in pq.read_table(pa.BufferReader(data))["image"].to_pylist()]
    if uri.endswith(".tar"):
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            members = [tar.extractfile(member) for member in tar.getmembers()]
            return [member.read() for member in members if member is not None]
    return [data]


def persons_of(data: bytes) -> int:
    return persons_in(data) if data.startswith(b"\x89PNG") else -1


def owner(uri: str) -> str:
    """The object that an image is, or is in."""
    head, mark, tail = uri.rpartition("#")
    return head if mark and not tail.endswith(".png") else uri


def persons_or_failed(row: tuple[str, str, int]) -> int:
    return row[2] if row[1] == "ok" else -1


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    first=st.dictionaries(st.sampled_from(KEYS), SEEDS, min_size=1),
    moves=st.lists(MOVES, max_size=25),
)
def test_the_tables_are_as_the_bucket_is_whatever_happens_to_it(
    first: dict[str, int], moves: list[tuple[str, str, Any]]
):
    world = World()
    for key, seed in first.items():
        world.put(key, picture(seed))
    for move, key, more in moves:
        if move == "put":
            world.put(key, picture(more))
        elif move == "put shard":
            world.put(key, world.shard(key, more))
        elif move == "delete":
            world.store.objects.pop(f"{IN}/{key}", None)
        elif move == "rename":
            data = world.store.objects.pop(f"{IN}/{key}", None)
            if data is not None:
                world.put(more, data)
        elif not world.has_begun() and (move.endswith("retry") or world.is_empty()):
            continue
        elif move == "sync":
            world.work("sync", None)
            world.work("sync", None)
            world.require_true_tables()
        elif move == "killed sync":
            world.work("sync", more)
        elif f"{OUT}/tables/_SUCCESS.json" in world.store.objects and _is_published(world.process().output):
            world.work("retry", more if move == "killed retry" else None)
    if world.has_begun() or not world.is_empty():
        world.work("sync", None)
        world.work("sync", None)
        world.require_true_tables()


def _is_published(output: RunOutput) -> bool:
    counts = output.counts()
    assert counts is not None
    return counts.generation == len(output.generations(output.require_record()))
