"""Whatever was killed, an older generation is read as it was, or an error says which ones can be read."""

from __future__ import annotations

import pytest
from support.memory_store import Killed, Life, MemoryStorage, give_up_leases
from support.standing import Standing, persons_in, picture
from support.stepped_store import Store

from pipeline.output.run_output import RunOutput
from pipeline.storage import StorageOptions
from posrefine.errors import ConfigurationError

IN, OUT = "s3://photos/in", "s3://results/out"

Rows = list[tuple[str, int]]


def process(store: Store, writes: int | None = None, network: int = 0) -> Standing:
    return Standing(MemoryStorage(StorageOptions(), store, Life(writes)), IN, OUT, network=network)


def state(store: Store, network: int) -> Rows:
    return sorted(
        (uri, persons_in(data, network)) for uri, data in store.objects.items() if uri.startswith(IN)
    )


def rows_of(store: Store, as_of: int) -> Rows:
    images = RunOutput.at(OUT, MemoryStorage(StorageOptions(), store), as_of).rows().images()
    return sorted((image.uri, len(image.poses or ())) for image in images)


def require_right_or_refused(store: Store, states: dict[int, Rows]) -> set[int]:
    """The generations that are read as they were; each other one is refused, and the error names those."""
    read, refused = set[int](), list[str]()
    for number in range(1, 8):
        try:
            assert rows_of(store, number) == states[number]
            read.add(number)
        except ConfigurationError as error:
            refused.append(str(error))
    listed = ", ".join(map(str, sorted(read)))
    for said in refused:
        assert f"it has {listed} (" in said or f"the last one is {max(read)} (" in said, said
    return read


def three_generations() -> tuple[Store, dict[int, Rows]]:
    store, states = Store(), dict[int, Rows]()
    for number in range(4):
        store.objects[f"{IN}/{number}.png"] = picture(number)
    for number, (key, seed) in enumerate([("0", 0), ("1", 51), ("5", 50)], 1):
        store.objects[f"{IN}/{key}.png"] = picture(seed)
        process(store).sync()
        states[number] = state(store, 0)
    return store, states


def test_of_a_sync_killed_at_any_write_the_finished_generations_are_read():
    store, states = three_generations()
    store.objects[f"{IN}/2.png"] = picture(80)
    del store.objects[f"{IN}/5.png"]
    states[4] = state(store, 0)
    seen, writes = set[int](), 0
    while 4 not in seen:
        tried = Store(dict(store.objects))
        try:
            process(tried, writes).sync()
        except Killed:
            give_up_leases(tried)
        read = require_right_or_refused(tried, states)
        assert read in ({1, 2, 3}, {1, 2, 3, 4}), f"after {writes} writes"
        seen |= read
        writes += 1


def test_what_a_replacement_that_was_killed_had_published_is_refused_by_name():
    store, states = three_generations()
    switched, writes, seen = False, 0, set[tuple[int, ...]]()
    while not switched:
        tried = Store(dict(store.objects))
        with pytest.raises(Killed):
            process(tried, writes).replace(1)
        give_up_leases(tried)
        switched = process(tried).output.tree.work != ""
        if not switched:
            assert require_right_or_refused(tried, states) == {1, 2, 3}, f"after {writes} writes"
            tried.objects[f"{IN}/night.png"] = picture(70)
            process(tried).sync()
            night = states | {4: state(tried, 0)}
            assert require_right_or_refused(tried, night) == {1, 2, 3, 4}, f"after {writes} writes"
            process(tried).replace(1)
        process(tried, network=1).sync()
        new = process(tried).output.counts()
        assert new is not None
        # The first one is of the bucket as it was when the new output was planned.
        of_new = {1: state(store, 1)} | {new.generation: state(tried, 1)}
        read = require_right_or_refused(tried, of_new)
        assert read in ({new.generation}, {1, 2}), f"after {writes} writes"
        seen |= {tuple(sorted(read))}
        writes += 1
    assert seen == {(1,), (1, 2), (2,)}
