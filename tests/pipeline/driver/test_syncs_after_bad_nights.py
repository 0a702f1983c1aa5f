"""What a night left that was killed, or in which too many images failed, the next one says and finishes."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from support.memory_store import Killed, Life, MemoryStorage, give_up_leases
from support.standing import NOW, DoNothingNetwork, Standing, persons_in, picture
from support.stepped_store import Store

from pipeline.driver.estimate import estimate_run
from pipeline.driver.run import Job, go_on
from pipeline.output.writer import OutputWriter
from pipeline.settings.run import RunSettings
from pipeline.storage import StorageOptions

IN, OUT = "s3://photos/in", "s3://results/out"


def process(store: Store, writes: int | None = None, **changes: object) -> Standing:
    storage = MemoryStorage(StorageOptions(), store, Life(writes))
    return Standing(storage, IN, OUT, dict(changes))


def truth(store: Store) -> list[tuple[str, str, int]]:
    return sorted((uri, "ok", persons_in(data)) for uri, data in store.objects.items() if uri.startswith(IN))


@pytest.fixture
def store() -> Store:
    """A finished output of four images."""
    found = Store()
    for number in range(4):
        found.objects[f"{IN}/{number}.png"] = picture(number)
    process(found).sync()
    return found


@pytest.fixture
def killed(store: Store) -> Store:
    """Three more images were planned as generation 2; a kill came after one of its two units."""
    for number in range(4, 7):
        store.objects[f"{IN}/{number}.png"] = picture(number)
    for writes in range(1, 100):
        tried = Store(dict(store.objects))
        with pytest.raises(Killed):
            process(tried, writes).sync()
        if len(list(process(tried).output.of(2).unit_ids())) == 1:
            give_up_leases(tried)
            return tried
    raise AssertionError("no unit of generation 2")


def test_what_arrived_since_a_killed_night_is_in_the_tables_after_the_next_one(killed: Store):
    killed.objects[f"{IN}/8.png"] = picture(8)
    outcome = process(killed).sync()
    assert outcome.exit_code == 0
    assert outcome.message == (
        "generation 2: 3 new, 0 stale, 0 orphaned; 0 of 3 images failed; "
        "generation 3: 1 new, 0 stale, 0 orphaned; 0 of 1 images failed"
    )
    assert process(killed).rows() == truth(killed)
    assert process(killed).sync().message.startswith("nothing new")


def test_of_two_generations_in_one_night_the_worse_code_stays(killed: Store):
    killed.objects[f"{IN}/4.png"] = b"words"
    killed.objects[f"{IN}/8.png"] = picture(8)
    outcome = process(killed, max_error_rate=0.0).sync()
    assert outcome.exit_code == 3
    assert outcome.result == "complete, but over the error budget"
    assert "generation 2: " in outcome.message
    assert "generation 3: " in outcome.message


def test_a_plan_after_a_killed_night_is_of_what_is_left_and_of_what_arrived(killed: Store):
    killed.objects[f"{IN}/8.png"] = picture(8)
    standing = process(killed)
    planned = estimate_run(standing.settings, standing.storage)
    assert planned.changes == (
        "1 new, 0 stale, 0 orphaned, since generation 2 that `sync` would finish first (3 new, 0 stale, "
        "0 orphaned; 1 of its 2 units to do)"
    )
    assert sum(planned.units.values()) == 2
    assert planned.images == 2


def test_a_run_after_a_killed_night_names_sync(killed: Store):
    standing = process(killed)
    given = standing.settings.model_dump(include=set(RunSettings.model_fields))
    network = SimpleNamespace(note=None)
    job = Job(RunSettings(**given), standing.output, network, None, standing.fingerprint, NOW)  # type: ignore[arg-type]
    with standing.writer() as lock:
        outcome = go_on(job, OutputWriter(standing.output, lock), DoNothingNetwork())  # type: ignore[arg-type]
    assert outcome.message.endswith("; generation 2 is not finished: `sync` goes on with it")


def test_a_night_over_its_error_budget_is_told_again_until_the_images_are_repaired(store: Store):
    store.objects[f"{IN}/9.png"] = b"words"
    strict = process(store, max_error_rate=0.5)
    assert strict.sync().exit_code == 3
    again = process(store, max_error_rate=0.5).sync()
    assert again.exit_code == 3
    assert again.message.startswith("nothing new; 1 of 1 images failed, over the budget of 50.00%")

    store.objects[f"{IN}/9.png"] = picture(9)
    assert process(store, max_error_rate=0.5).sync().exit_code == 0
    assert process(store, max_error_rate=0.5).sync().exit_code == 0


def test_a_night_killed_before_it_could_say_its_code_has_it_said_by_the_next_one(store: Store):
    store.objects[f"{IN}/9.png"] = b"words"
    for writes in range(1, 100):
        here = Store(dict(store.objects))
        try:
            process(here, writes, max_error_rate=0.5).sync()
        except Killed:
            give_up_leases(here)
            assert process(here, max_error_rate=0.5).sync().exit_code == 3
            continue
        break
    assert writes > 10


def test_a_network_over_its_error_budget_replaces_nothing_however_often_it_is_tried(store: Store):
    before = process(store).rows()
    store.objects[f"{IN}/9.png"] = b"words"
    for _ in range(3):
        outcome = replace(process(store), changes={"max_error_rate": 0.1}).replace(1)
        assert outcome.exit_code == 3
        assert "1 of 5 images failed, over the budget of 10.00%" in outcome.message
        assert "nothing was replaced" in outcome.message
        assert process(store).rows() == before
    assert (
        replace(process(store), changes={"max_error_rate": 0.5})
        .replace(1)
        .message.startswith("the network is")
    )
