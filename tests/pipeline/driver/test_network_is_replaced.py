"""Another network takes the place of the old one by one switch: before it all is old, after it all is new."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.memory_store import Killed, Life, MemoryStorage, give_up_leases
from support.standing import Standing, persons_in, picture
from support.stepped_store import Store

from pipeline.driver.replace import require_same_input
from pipeline.output.delta_checkpoint import decode_checkpoint, encode_checkpoint
from pipeline.output.run_output import RunOutput
from pipeline.output.status import read_status
from pipeline.storage import StorageOptions
from posrefine.errors import ConfigurationError, FingerprintMismatch, OutputLocked

IN, OUT = "s3://photos/in", "s3://results/out"


def process(store: Store, writes: int | None = None, network: int = 0) -> Standing:
    return Standing(MemoryStorage(StorageOptions(), store, Life(writes)), IN, OUT, network=network)


def old_output() -> Store:
    """Three generations of an input with everything that a generation can bring."""
    store = Store()
    for number in range(5):
        store.objects[f"{IN}/{number}.png"] = picture(number)
    process(store).sync()
    store.objects[f"{IN}/5.png"] = picture(50)
    store.objects[f"{IN}/1.png"] = picture(51)
    process(store).sync()
    del store.objects[f"{IN}/2.png"]
    process(store).sync()
    return store


def truth(store: Store, network: int) -> list[tuple[str, str, int]]:
    return sorted(
        (uri, "ok", persons_in(data, network)) for uri, data in store.objects.items() if uri.startswith(IN)
    )


def by_logs(store: Store) -> Iterator[set[str]]:
    """The files of each table as other readers find them, which all are there."""
    for name in ("images", "persons"):
        files = set(process(store).output.log(name).snapshot().files)
        assert all(f"{OUT}/tables/{name}/{file}" in store.objects for file in files)
        yield files


def test_the_new_network_takes_the_tables_and_nothing_of_the_old_one_stays():
    store = old_output()
    versions = process(store).output.counts()
    outcome = process(store).replace(1)
    assert outcome.message.startswith("the network is m, w from now on; 0 of 5 images failed")
    assert process(store).rows() == truth(store, 1)
    counts = process(store).output.counts()
    assert counts is not None
    assert versions is not None
    assert counts.images_version == versions.images_version + 1
    left = {uri.removeprefix(f"{OUT}/").split("/")[0] for uri in store.objects if uri.startswith(OUT)}
    assert left == {"tables", "networks", "outcome.json", "lock.json"}
    folders = {uri.removeprefix(f"{OUT}/{counts.work}/").split("/")[0] for uri in store.objects
               if uri.startswith(f"{OUT}/networks")}  # fmt: skip
    assert {folder.split("-")[0] for folder in folders} == {"run.json", "manifest", "units"}


def test_syncs_go_on_with_the_new_network_and_its_generations_are_counted_from_one():
    store = old_output()
    process(store).replace(1)
    store.objects[f"{IN}/6.png"] = picture(60)
    said = process(store, network=1).sync().message
    assert said.startswith("generation 2: 1 new, 0 stale, 0 orphaned")
    assert process(store).rows() == truth(store, 1)
    assert process(store).rows(1) == [row for row in truth(store, 1) if not row[0].endswith("6.png")]
    with pytest.raises(ConfigurationError, match="no generation 3; it has 1, 2"):
        process(store).rows(3)
    assert [one.generation for one in read_status(process(store).output).generations] == [1, 2]
    # And a third one takes the place of the second.
    process(store, network=1).replace(2)
    assert process(store).rows() == truth(store, 2)
    works = {uri.split("/networks/")[1].split("/")[0] for uri in store.objects if "/networks/" in uri}
    assert len(works) == 1


def test_one_that_fails_too_often_replaces_nothing():
    store = old_output()
    before = process(store).rows()
    store.objects[f"{IN}/broken.png"] = picture(-1)
    strict = replace(process(store), changes={"max_error_rate": 0.0})
    outcome = strict.replace(1)
    assert outcome.exit_code == 3
    assert "nothing was replaced, see s3://results/out/networks/" in outcome.message
    assert process(store).rows() == before


def test_a_sync_that_waited_for_the_lock_while_the_network_was_replaced_changes_nothing():
    from pipeline.output.writer import writing

    store = old_output()
    waiting = process(store).output
    process(store).replace(1)
    with pytest.raises(OutputLocked, match="its network was replaced in the meantime"), writing(waiting, 60):
        pass


@pytest.mark.parametrize(
    ("nights_between", "every"),
    [
        pytest.param(True, 9, id="some writes, a night between"),
        pytest.param(True, 1, id="a night between", marks=pytest.mark.slow),
        pytest.param(False, 1, id="goes on at once", marks=pytest.mark.slow),
    ],
)
def test_killed_at_any_write_the_tables_are_those_of_one_network_and_the_same_command_goes_on(
    nights_between: bool, every: int
):
    store = old_output()
    old, new = truth(store, 0), truth(store, 1)
    logs = [next(by_logs(store)), set[str]()]
    whole, writes = Store(dict(store.objects)), 0
    life = Life(10_000)
    Standing(MemoryStorage(StorageOptions(), whole, life), IN, OUT).replace(1)
    writes = 10_000 - (life.writes or 0)
    logs[1] = next(by_logs(whole))
    seen = set()
    for last in range(0, writes, every):
        tried = Store(dict(store.objects))
        with pytest.raises(Killed):
            process(tried, last).replace(1)
        free(tried)
        rows = process(tried).rows()
        assert rows in (old, new), f"after {last} writes"
        seen.add(rows == new)
        for files in by_logs(tried):
            # File names are drawn anew by each attempt.
            assert len(files) in (len(logs[0]), len(logs[1]))
        if nights_between and rows == old:
            tried.objects[f"{IN}/night.png"] = picture(70)
            process(tried).sync()
            assert process(tried).rows() == truth(tried, 0), f"after {last} writes"
            assert process(tried).rows(3) == old, f"after {last} writes"
        if rows == old:
            process(tried).replace(1)
        process(tried, network=1).sync()
        assert process(tried).rows() == truth(tried, 1), f"after {last} writes"
        left = {uri.removeprefix(f"{OUT}/").split("/")[0] for uri in tried.objects if uri.startswith(OUT)}
        assert left == {"tables", "networks", "outcome.json", "lock.json"}, f"after {last} writes"
    assert seen == {False, True}


def killed_around_the_switch(store: Store, here: int = 0, there: int = 1) -> tuple[Store, Store]:
    """The store of a replacement that was killed just before `_SUCCESS.json` was put, and just after."""
    before = after = store
    work = process(store).output.tree.work
    for writes in range(1, 100):
        before, after = after, Store(dict(store.objects))
        with pytest.raises(Killed):
            process(after, writes, here).replace(there)
        free(after)
        if process(after).output.tree.work != work:
            return before, after
    raise AssertionError("it never came to the switch")


def test_what_a_killed_replacement_left_goes_with_the_next_one():
    _, after = killed_around_the_switch(old_output())
    assert f"{OUT}/run.json" in after.objects
    process(after, network=1).replace(2)
    assert process(after).rows() == truth(after, 2)
    left = {uri.removeprefix(f"{OUT}/").split("/")[0] for uri in after.objects if uri.startswith(OUT)}
    assert left == {"tables", "networks", "outcome.json", "lock.json"}
    assert (
        len({uri.split("/networks/")[1].split("/")[0] for uri in after.objects if "/networks/" in uri}) == 1
    )


def test_who_goes_back_to_the_network_that_is_still_being_removed_gets_it_whole():
    store = old_output()
    process(store).replace(1)
    _, after = killed_around_the_switch(store, 1, 2)
    process(after, network=2).replace(1)
    assert process(after).rows() == truth(after, 1)
    assert process(after, network=1).sync().exit_code == 0
    assert process(after).rows() == truth(after, 1)


@pytest.mark.parametrize("units_first", [False, True])
def test_a_reader_that_came_before_the_switch_reads_one_network_after_it_whole(units_first: bool):
    store = old_output()
    tree = process(store).output.tree
    _, after = killed_around_the_switch(store)
    reader = RunOutput(process(after).storage, tree)
    found = [
        (image.uri, "ok", len(image.poses or ())) for image in reader.rows(units_first=units_first).images()
    ]
    assert sorted(found) == truth(after, 1)


def test_a_status_that_began_before_the_switch_is_of_the_new_network():
    store = old_output()
    reader = RunOutput(process(store).storage, process(store).output.tree)
    process(store).replace(1)
    status = read_status(reader)
    assert status.record.fingerprint.weights_sha256 == "1"
    assert [one.generation for one in status.generations] == [1]


def test_what_the_old_network_published_in_between_is_no_generation_of_the_new_one():
    before, _ = killed_around_the_switch(old_output())
    before.objects[f"{IN}/night.png"] = picture(70)
    process(before).sync()
    process(before).replace(1)
    assert process(before).rows(2) == process(before).rows() == truth(before, 1)
    # The first one never was the tables': its rows are nowhere, and nobody else's are shown for it.
    with pytest.raises(ConfigurationError, match=r"generation 1 cannot be read, as .* is gone; it has 2 "):
        process(before).rows(1)


def test_a_checkpoint_knows_the_generations_of_both_networks():
    before, _ = killed_around_the_switch(old_output())
    table = process(before).output.log("images").snapshot()
    (new,) = set(table.transactions) - {"posrefine"}
    data = encode_checkpoint(table)
    found = [decode_checkpoint("uri", table.version, data, app) for app in ("posrefine", new, "another")]
    assert [one.generation for one in found] == [3, 1, 0]
    assert all(one.files == table.files for one in found)


def free(store: Store) -> None:
    give_up_leases(store)
    assert RunOutput.at(OUT, MemoryStorage(StorageOptions(), store, Life())).lease() is None


def test_the_frame_that_corrections_are_in_is_not_replaced():
    here = process(old_output()).output.require_record().fingerprint
    require_same_input(here, here.model_copy(update={"model": "other", "input_size": 256}), OUT)
    with pytest.raises(FingerprintMismatch, match="give --exif apply, or choose another --output"):
        require_same_input(here, here.model_copy(update={"exif": "ignore"}), OUT)
