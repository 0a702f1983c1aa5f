"""People's rows lie over the network's: in the tables, through syncs and retries, until they are undone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import polars
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st
from support.corrections import corrected, import_into, models_rows, undo_in
from support.memory_store import Killed, Life, MemoryStorage
from support.rows import result, some_poses
from support.standing import Standing, persons_in, picture
from support.stepped_store import Store

from pipeline.driver.run import finalize_run
from pipeline.output.human_import import HumanImage, digest_of
from pipeline.output.human_log import HumanImport
from pipeline.output.parquet import encode_table
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import MODEL, ImageResult
from pipeline.output.writer import OutputWriter
from pipeline.storage import Storage, StorageOptions
from posrefine.errors import InvariantBroken, ShardError

IN, OUT = "s3://photos/in", "s3://results/out"


@pytest.fixture
def standing(tmp_path: Path) -> Standing:
    """Five images, one of them broken, annotated."""
    (tmp_path / "in").mkdir()
    for number in range(4):
        (tmp_path / "in" / f"{number}.png").write_bytes(picture(number))
    (tmp_path / "in" / "broken.png").write_bytes(picture(-1))
    standing = Standing(Storage(), str(tmp_path / "in"), str(tmp_path / "out"))
    standing.sync()
    return standing


def sources(standing: Standing) -> dict[str, str]:
    """Whose the rows of each image are, as the tables say it."""
    return {image.image_key: image.source for image in standing.output.rows().images()}


def same_persons(image: ImageResult, said: HumanImage) -> bool:
    assert image.poses is not None
    assert image.labels is not None
    return (
        np.array_equal(image.poses.keypoints, said.keypoints)
        and np.array_equal(image.labels.visibility, said.visibility)
        and np.array_equal(image.labels.boxes_xywh, said.boxes_xywh)
        and np.array_equal(image.poses.keypoint_scores, (said.visibility > 0).astype(np.float32))
        and (image.poses.scores == 1).all()
    )


def test_people_outrank_the_network_and_readers_who_know_nothing_of_it_see_that(standing: Standing):
    found = models_rows(standing.output)
    said = corrected(found["1.png"], 3)
    before = {image.image_key: image.poses for image in standing.output.images()}

    import_into(standing, [("ann", [said])])

    rows = {image.image_key: image for image in standing.output.rows().images()}
    assert rows["1.png"].source == "ann"
    assert same_persons(rows["1.png"], said)
    assert {key: image.poses for key, image in rows.items()} | {"1.png": before["1.png"]} == before
    folder = standing.output.tree.table_folder("persons")
    persons = polars.read_delta(folder).filter(polars.col("source") != MODEL)
    assert set(persons["source"]) == {"ann"}
    assert persons["visibility"].to_list() == said.visibility.tolist()
    images = polars.read_parquet(f"{standing.output.tree.table_folder('images')}/*.parquet")
    assert dict(zip(images["image_key"], images["source"], strict=True)) == sources(standing)
    assert polars.read_delta(folder).height == images["person_count"].sum()
    counts = standing.output.counts()
    assert counts is not None
    assert (counts.reviewed, counts.persons + counts.persons_below) == (1, images["person_count"].sum())
    # What the network had found is there for who asks for it.
    assert {key: image.poses for key, image in models_rows(standing.output).items()} == {
        key: image.poses for key, image in found.items()
    }


def test_a_sync_keeps_people_s_rows_of_images_that_stay_and_drops_those_of_replaced_ones(
    standing: Standing,
):
    found, folder = models_rows(standing.output), Path(standing.input)
    import_into(standing, [("ann", [corrected(found[f"{n}.png"], 2, n) for n in range(3)])])

    (folder / "0.png").write_bytes(picture(70))  # another image
    (folder / "1.png").rename(folder / "renamed.png")  # the same one, elsewhere
    (folder / "copy of 2.png").write_bytes(picture(2))
    standing.sync()

    assert sources(standing) == {
        "0.png": MODEL, "2.png": "ann", "3.png": MODEL, "broken.png": MODEL, "copy of 2.png": "ann",
        "renamed.png": "ann",
    }  # fmt: skip
    human = standing.output.human_rows()
    now = {image.image_key: image.sha256 for image in standing.output.rows().images()}
    replaced = [key for key, sha256 in human.reviewed_keys().items() if now.get(key, sha256) != sha256]
    assert replaced == ["0.png"]
    assert now["0.png"] not in human.counting

    (folder / "0.png").write_bytes(picture(0))
    standing.sync()
    assert sources(standing)["0.png"] == "ann"


def test_retries_and_logs_made_anew_keep_people_s_rows(standing: Standing):
    import_into(standing, [("ann", [corrected(models_rows(standing.output)["1.png"], 2)])])
    (Path(standing.input) / "broken.png").write_bytes(picture(9))
    standing.retry()
    kept = sources(standing)
    assert kept["1.png"] == "ann"
    rows = standing.rows()
    assert ("broken.png", persons_in(picture(9))) in [(Path(uri).name, count) for uri, _, count in rows]
    finalize_run(standing.output, rebuild=True)
    assert sources(standing) == kept
    assert standing.rows() == rows


def test_of_two_reviewers_the_later_counts_and_undoing_brings_the_other_back(standing: Standing):
    image = models_rows(standing.output)["1.png"]
    first, second = corrected(image, 1, 1), corrected(image, 2, 2)
    before = standing.rows()
    (ann,) = import_into(standing, [("ann", [first])])
    (bob,) = import_into(standing, [("bob", [second])])
    assert sources(standing)["1.png"] == "bob"
    # Twice is once, in whatever order.
    entries = standing.output.human_rows().log.version
    assert import_into(standing, [("ann", [first]), ("bob", [second])]) == ()
    assert standing.output.human_rows().log.version == entries

    undo_in(standing, [bob])
    assert sources(standing)["1.png"] == "ann"
    undo_in(standing, [ann])
    assert standing.rows() == before
    assert set(sources(standing).values()) == {MODEL}
    # What was undone can be imported again.
    assert import_into(standing, [("bob", [second])]) == (bob,)
    assert sources(standing)["1.png"] == "bob"


def test_an_import_that_died_before_the_tables_followed_is_brought_to_its_end_by_the_next_sync(
    standing: Standing,
):
    said = corrected(models_rows(standing.output)["1.png"], 2)
    with standing.writer() as lock:  # died after the rows, before the log
        writer = OutputWriter(standing.output, lock)
        writer.human_rows(digest_of("ann", [said]), encode_table(_rows_of(standing), {}))
    standing.sync()
    assert set(sources(standing).values()) == {MODEL}
    (Path(standing.output.tree.human_rows(digest_of("ann", [said])))).unlink()

    import_into(standing, [("ann", [said])], publish=False)
    assert set(sources(standing).values()) == {MODEL}
    assert standing.sync().message.startswith("nothing new")
    assert sources(standing)["1.png"] == "ann"


def _rows_of(standing: Standing):  # type: ignore[no-untyped-def]
    return next(standing.output.rows().columns(["image_key"]))


def test_rows_and_entries_that_were_removed_by_hand_are_named(standing: Standing):
    (one,) = import_into(standing, [("ann", [corrected(models_rows(standing.output)["1.png"], 2)])])
    rows = Path(standing.output.tree.human_rows(one.digest))
    kept = rows.read_bytes()
    whose, advice = f"ann's import {one.digest[:12]} .1 images.", "import the same export again"
    rows.write_bytes(kept[:100])
    with pytest.raises(ShardError, match=f"{whose} are damaged .*{advice}"):
        standing.output.human_rows().files.table(one)
    rows.unlink()
    with pytest.raises(ShardError, match=f"{whose} were removed; {advice}"):
        standing.output.human_rows().files.table(one)
    rows.write_bytes(kept)
    Path(standing.output.tree.human_entry(0)).unlink()
    with pytest.raises(InvariantBroken, match="holds 0 entries, and the tables were made with 1"):
        standing.sync()


def test_a_copy_of_the_log_within_it_is_no_entry(standing: Standing):
    import_into(standing, [("ann", [corrected(models_rows(standing.output)["1.png"], 2)])])
    entry = Path(standing.output.tree.human_entry(0))
    (entry.parent / "copy").mkdir()
    (entry.parent / "copy" / entry.name).write_bytes(entry.read_bytes())
    assert standing.output.human_rows().version == 1


@dataclass
class Reviewed:
    """A bucket, an output, and what the tables must say."""

    store: Store = field(default_factory=Store)
    active: list[tuple[HumanImport, dict[str, HumanImage]]] = field(default_factory=list)

    def process(self, writes: int | None = None) -> Standing:
        return Standing(MemoryStorage(StorageOptions(), self.store, Life(writes)), IN, OUT)

    def put(self, number: int, seed: int) -> None:
        self.store.objects[f"{IN}/{number}.png"] = picture(seed)

    def says(self, reviewer: str, numbers: set[int], persons: int, writes: int | None) -> None:
        """Import answers; whoever is killed at it does it again."""
        rows = models_rows(self.process().output)
        said = [corrected(rows[f"{n}.png"], persons, n) for n in sorted(numbers) if f"{n}.png" in rows]
        images = {one.sha256: one for one in said}
        if not images:
            return
        answers = [(reviewer, list(images.values()))]
        before = self.process().output.human_rows().log.version
        try:
            import_into(self.process(writes), answers)
        except Killed:
            self.store.objects.pop(f"{OUT}/lock.json", None)
            import_into(self.process(), answers)
        log = self.process().output.human_rows().log
        if log.version > before:
            assert log.version == before + 1
            self.active.append((log.entries[-1].imports[0], images))

    def expected(self, sha256: str | None) -> tuple[str, HumanImage] | None:
        for one, images in reversed(self.active):
            if sha256 in images:
                return one.reviewer, images[sha256]
        return None

    def check(self) -> None:
        output = self.process().output
        for image in output.images():
            wanted = self.expected(image.sha256)
            assert image.source == (MODEL if wanted is None else wanted[0])
            assert wanted is None or same_persons(image, wanted[1])
        counts = output.counts()
        assert counts is not None
        assert counts.reviewed == sum(image.source != MODEL for image in output.images())
        for image in RunOutput(output.storage, output.tree, source="model").images():
            assert (image.source, len(image.poses or ())) == (MODEL, persons_in(picture_of(image)))


def picture_of(image: ImageResult) -> bytes:
    """The bytes that the row says it is of, which may have been replaced since."""
    return next(data for data in map(picture, range(9)) if sha256(data).hexdigest() == image.sha256)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("import"), st.sampled_from(["ann", "bob"]), st.sets(st.integers(0, 4), min_size=1),
                  st.integers(0, 3), st.none() | st.integers(0, 14)),
        st.tuples(st.just("undo"), st.integers(0, 9)),
        st.tuples(st.just("picture"), st.integers(0, 4), st.integers(0, 8)),
        st.tuples(st.just("sync")),
        st.tuples(st.just("retry")),
    ),
    max_size=8,
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(steps=STEPS)
def test_whatever_is_imported_killed_undone_replaced_and_synced_the_tables_say_who_spoke_last(
    steps: list[tuple[object, ...]],
):
    reviewed = Reviewed()
    for number in range(4):
        reviewed.put(number, number)
    reviewed.process().sync()
    for step in steps:
        match step:
            case ("import", str(reviewer), set(numbers), int(persons), writes):
                reviewed.says(reviewer, numbers, persons, writes)  # type: ignore[arg-type]
            case ("undo", int(index)) if reviewed.active:
                one, _ = reviewed.active.pop(index % len(reviewed.active))
                undo_in(reviewed.process(), [one])
            case ("picture", int(number), int(seed)):
                reviewed.put(number, seed)
            case ("sync",):
                reviewed.process().sync()
            case ("retry",):
                reviewed.process().retry()
        reviewed.check()


def test_older_generations_are_read_as_people_left_them_and_as_the_network_had_them(standing: Standing):
    found = models_rows(standing.output)
    import_into(standing, [("ann", [corrected(found["1.png"], 2)])])
    (Path(standing.input) / "new.png").write_bytes(picture(30))
    (Path(standing.input) / "1.png").write_bytes(picture(31))
    standing.sync()
    old = {i.image_key: i for i in RunOutput(standing.storage, standing.output.tree, 1).rows().images()}
    assert old["1.png"].source == "ann"
    model = RunOutput(standing.storage, standing.output.tree, 1, "model").rows().images()
    assert {i.image_key: i.poses for i in model if i.poses is not None} == {
        key: image.poses for key, image in found.items()
    }
    log = DeltaTable(standing.output.tree.table_folder("images"))
    assert log.transaction_version("posrefine") == 2


def test_people_s_rows_stay_where_another_network_takes_the_place_of_the_old_one():
    reviewed = Reviewed()
    for number in range(4):
        reviewed.put(number, number)
    reviewed.process().sync()
    reviewed.says("ann", {1, 2}, 2, None)
    reviewed.process().replace(1)

    standing = replace(reviewed.process(), network=1)
    assert {key for key, source in sources(standing).items() if source == "ann"} == {"1.png", "2.png"}
    found = models_rows(standing.output)
    assert {key: len(image.poses or ()) for key, image in found.items()} == {
        f"{n}.png": persons_in(picture(n), 1) for n in range(4)
    }
    # What is imported from now on is kept with what the new network found.
    said = corrected(found["1.png"], 1, 5)
    import_into(standing, [("bob", [said])])
    rows = {image.image_key: image for image in standing.output.images()}
    assert rows["1.png"].source == "bob"
    assert same_persons(rows["1.png"], said)
    assert {key: image.poses for key, image in models_rows(standing.output).items()} == {
        key: image.poses for key, image in found.items()
    }


def test_an_answer_is_the_same_in_whatever_order_it_comes():
    images = [corrected(result(n, some_poses(2, n)), 2, n) for n in range(3)]
    assert digest_of("ann", images) == digest_of("ann", images[::-1])
    assert digest_of("ann", images) != digest_of("bob", images)
    assert digest_of("ann", images) != digest_of("ann", images[:2])
