"""Images are chosen for what the tables say of them, within the budget, and by chance."""

import dataclasses
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.corrections import corrected, import_into, models_rows, undo_in
from support.images import encode, gradient
from support.runs import metadata_of, write_run
from support.standing import Standing, picture

from jobs import review
from pipeline.output.review_queue import QueuedImage, Reason, ReviewQueue, list_queues, read_queue
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import ImageResult
from pipeline.review.choice import choose, draw_control
from pipeline.review.image_features import COLUMNS, FEATURES, FIELDS, features_of
from pipeline.review.queue import read_tasks
from pipeline.review.run_disagreement import RunDisagreement
from pipeline.review.select import SelectOptions, select_images
from pipeline.review.signals import Signal
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, ImageStatus
from posrefine.metrics.pairing import pair_persons
from posrefine.poses import Poses
from posrefine.skeletons import COCO, CROWDPOSE

STANDING = np.stack([np.sin(np.arange(17.0)) * 20, np.arange(17) * 9.0], axis=1)
"""Joints of a person, px."""


def people(
    seed: int, count: int = 1, *, score: float = 0.9, spread_px: float = 1.0, size: float = 1.0
) -> Poses:
    """Persons who stand anywhere, much alike."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform((20, 20), (560, 300), (count, 1, 2))
    shapes = STANDING + rng.normal(0, 2, (count, 17, 2))
    return Poses(
        keypoints=(corners + shapes * size * rng.uniform(0.95, 1.05)).astype(np.float32),
        keypoint_scores=np.full((count, 17), 0.8, np.float32),
        scores=np.full(count, score, np.float32),
        spread_px=np.full((count, 17), spread_px, np.float32)
        * rng.uniform(0.9, 1.1, (count, 1)).astype(np.float32),
    )


def image(
    number: int, poses: Poses | None, *, folder: str = "a", status: ImageStatus = ImageStatus.CORRUPT
) -> ImageResult:
    ok = poses is not None
    return ImageResult(
        image_key=f"{folder}/{number}.jpg",
        image_id=None,
        uri=f"s3://b/{folder}/{number}.jpg",
        width=640 if ok else None,
        height=480 if ok else None,
        exif_orientation=1,
        sha256=f"{number + 1:016x}" + "0" * 48 if ok else None,
        status=ImageStatus.OK if ok else status,
        error=None if ok else "no JPEG",
        poses=poses,
    )


def selected(units: Sequence[Sequence[ImageResult]], **options: object) -> ReviewQueue:
    with tempfile.TemporaryDirectory() as folder:
        other = options.pop("other", None)
        if other is not None:
            uri = write_run(Path(folder, "other"), [other])  # type: ignore[list-item]
            options["against"] = RunOutput.at(uri, Storage())
        output = RunOutput.at(write_run(Path(folder, "run"), units), Storage())
        queue, _ = select_images(output, SelectOptions(**options))  # type: ignore[arg-type]
        assert read_queue(output) == queue
        return queue


def chosen_by(queue: ReviewQueue, reason: Reason) -> list[QueuedImage]:
    return [entry for entry in queue.images if entry.reason is reason]


def plain(count: int, **changes: object) -> list[ImageResult]:
    return [image(number, people(number, **changes)) for number in range(count)]  # type: ignore[arg-type]


numbers = st.integers(0, 10_000)


@st.composite
def runs(draw: st.DrawFn) -> list[ImageResult]:
    """Images of a few folders, some of them copies, some failed."""
    found = []
    for number in range(draw(st.integers(1, 40))):
        kind = draw(st.sampled_from(["plain", "plain", "crowd", "nobody", "copy", "failed"]))
        folder = draw(st.sampled_from("abc"))
        seed = draw(st.integers(0, 3)) if kind == "copy" else 100 + number
        score = draw(st.sampled_from([0.28, 0.31, 0.9]))
        poses = {"crowd": people(seed, 4, score=score), "nobody": Poses.none(17), "failed": None}.get(
            kind, people(seed, 1, score=score, spread_px=draw(st.sampled_from([0.5, 3.0, 30.0])))
        )
        entry = image(number, poses, folder=folder)
        found.append(dataclasses.replace(entry, sha256=f"{seed:08x}" * 8) if kind == "copy" else entry)
    return found


@settings(max_examples=12, deadline=None)
@given(runs(), st.integers(1, 30), st.integers(1, 5), st.integers(0, 5), st.randoms())
def test_neither_files_nor_their_order_change_a_queue(images, budget, per_folder, seed, random):
    options = {"budget": budget, "per_folder": per_folder, "seed": seed, "control_share": 0.2}
    first = selected([images], **options)
    assert selected([images], **options) == first
    mixed = list(images)
    random.shuffle(mixed)
    middle = random.randint(0, len(mixed))
    assert selected([part for part in (mixed[:middle], mixed[middle:]) if part], **options) == first


@settings(max_examples=15, deadline=None)
@given(runs(), st.integers(1, 30), st.integers(1, 5), st.floats(0, 1))
def test_budget_and_caps_hold(images, budget, per_folder, share):
    queue = selected([images], budget=budget, per_folder=per_folder, control_share=share)
    assert len(queue.images) <= budget
    assert [entry.rank for entry in queue.images] == list(range(len(queue.images)))
    assert len({entry.uri for entry in queue.images}) == len(queue.images)
    control = [entry for entry in queue.images if entry.is_control]
    ok = sum(one.status is ImageStatus.OK for one in images)
    assert len(control) == min(ok, int(np.ceil(budget * share - 1e-9)))
    for folder in "abc":
        here = [entry for entry in queue.images if entry.image_key.startswith(folder)]
        assert len(here) <= max(per_folder, sum(entry.is_control for entry in here))
    by_signals = Counter(entry.sha256 for entry in queue.images if not entry.is_control and entry.sha256)
    assert set(by_signals.values()) <= {1}
    assert by_signals.keys().isdisjoint(entry.sha256 for entry in control)
    assert {entry.probability for entry in control} <= {len(control) / max(1, ok)}


def test_a_budget_is_used_up_where_there_is_enough():
    queue = selected([plain(60)], budget=20)
    assert len(queue.images) == 20
    assert sum(entry.is_control for entry in queue.images) == 2


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000), numbers)
def test_what_signals_say_changes_nothing_about_the_control_share(seed, poses_seed):
    quiet = plain(30)
    loud = [
        dataclasses.replace(
            entry,
            poses=people(
                poses_seed + number, 1 + number % 3, score=0.3 + 0.001 * number, spread_px=99 - number
            ),
        )
        for number, entry in enumerate(quiet)
    ]

    def drawn(images: list[ImageResult]) -> set[str]:
        queue = selected([images], budget=10, control_share=0.4, seed=seed, per_folder=1)
        return {entry.image_key for entry in queue.images if entry.is_control}

    assert drawn(quiet) == drawn(loud)


def test_over_many_seeds_every_image_is_drawn_as_often_as_any_other(tmp_path: Path):
    """Also those that a signal would choose, near-duplicates, and images without people."""
    images = [
        image(number, people(number, score=0.3 + 0.01 * number, spread_px=number)) for number in range(8)
    ]
    images = [*images, image(8, people(0)), image(9, Poses.none(17)), image(10, people(3, spread_px=200))]
    images = [*images, image(11, None)]
    rows = RunOutput.at(write_run(tmp_path / "run", [images]), Storage()).rows()
    (part,) = rows.persons(COLUMNS, FIELDS)
    seeds, drawn = 600, np.zeros(12)
    for seed in range(seeds):
        measured, _ = features_of(part, 0, 17, 0.3, seed, {})
        indices, ok = draw_control(measured, 10, 0.3)
        assert (len(indices), ok) == (3, 11)
        drawn[indices] += 1
    assert drawn[11] == 0
    expected = seeds * 3 / 11
    # Chi-square with 10 degrees of freedom; the seeds are always the same ones.
    assert ((drawn[:11] - expected) ** 2 / expected).sum() < 29.6


def test_an_image_that_was_drawn_stays_control_where_a_signal_would_choose_it():
    images = [*plain(20, spread_px=0.1), image(20, people(20, spread_px=90))]
    queue = selected([images], budget=21, control_share=1.0)
    (worst,) = [entry for entry in queue.images if entry.image_key == "a/20.jpg"]
    assert (worst.is_control, worst.reason, worst.probability) == (True, Reason.CONTROL, 1.0)
    half = [selected([images], budget=8, control_share=0.5, seed=seed) for seed in range(20)]
    both = [
        entry
        for queue in half
        for entry in queue.images
        if entry.image_key == "a/20.jpg" and entry.is_control
    ]
    assert both
    assert {entry.reason for entry in both} == {Reason.VIEW_SPREAD}


def test_every_signal_finds_what_it_is_for():
    images = plain(80, spread_px=1.0)
    upside_down = people(7)
    mirrored = upside_down.keypoints.copy()
    mirrored[..., 1] = 400 - mirrored[..., 1] * np.linspace(1, -1, 17)
    changed = {
        11: people(11, spread_px=40),
        22: people(22, 3, score=0.3),
        33: dataclasses.replace(upside_down, keypoints=mirrored),
        44: people(44, size=0.05),
    }
    images = [
        dataclasses.replace(entry, poses=changed.get(number, entry.poses))
        for number, entry in enumerate(images)
    ]
    images.append(image(80, None, status=ImageStatus.TIMEOUT))
    other = [
        dataclasses.replace(entry, poses=people(900, 2) if number == 55 else entry.poses)
        for number, entry in enumerate(images)
    ]
    queue = selected([images], budget=6, control_share=0.0, other=other)
    found = {entry.reason: entry for entry in queue.images}
    assert {reason: entry.image_key for reason, entry in found.items()} == {
        Reason.VIEW_SPREAD: "a/11.jpg",
        Reason.NEAR_FLOOR: "a/22.jpg",
        Reason.UNUSUAL_POSE: "a/33.jpg",
        Reason.UNUSUAL_SIZE: "a/44.jpg",
        Reason.PEOPLE_DIFFER: "a/55.jpg",
        Reason.FAILED: "a/80.jpg",
    }
    assert found[Reason.PEOPLE_DIFFER].words == (
        "3 persons found by one of two runs alone: 1 in this one, 2 in the other"
    )
    assert (
        found[Reason.NEAR_FLOOR].words == "3 persons within 0.05 of 0.3, the score from which persons count"
    )
    assert "smaller than usual" in found[Reason.UNUSUAL_SIZE].words
    assert found[Reason.FAILED].words == "failed (timeout) and may hold people"


def test_runs_that_agree_and_images_that_the_other_run_lacks_are_no_reason():
    images = plain(10)
    swapped = [
        dataclasses.replace(entry, sha256="e" * 64, poses=people(77, 4)) if number == 3 else entry
        for number, entry in enumerate(images[:5])
    ]
    queue = selected([images], budget=10, control_share=0.0, other=swapped)
    assert not chosen_by(queue, Reason.PEOPLE_DIFFER)


def test_runs_of_other_joints_are_not_compared(tmp_path: Path):
    uri = write_run(tmp_path / "run", [plain(2)])
    crowd = write_run(tmp_path / "crowd", [[image(0, Poses.none(14))]], metadata_of(CROWDPOSE))
    options = SelectOptions(1, against=RunOutput.at(crowd, Storage()))
    with pytest.raises(ConfigurationError, match="compare runs of one skeleton"):
        select_images(RunOutput.at(uri, Storage()), options)


def test_what_was_saved_again_or_made_smaller_is_chosen_once():
    first = people(1, 2, spread_px=50)
    moved = dataclasses.replace(first, keypoints=first.keypoints + np.float32(0.7))
    smaller = dataclasses.replace(first, keypoints=first.keypoints / 2)
    others = [image(10 + number, people(50 + number, 2, spread_px=40)) for number in range(5)]
    images = [image(0, first), image(1, moved), image(2, smaller), *others]
    images[2] = dataclasses.replace(images[2], width=320, height=240)
    queue = selected([images], budget=8, control_share=0.0)
    keys = {entry.image_key for entry in queue.images}
    assert len(keys & {"a/0.jpg", "a/1.jpg", "a/2.jpg"}) == 1
    assert keys >= {entry.image_key for entry in others}


def test_any_number_of_copies_hides_no_other_image():
    """More copies than a ranking holds at a time, and all of them above the others."""
    rows = np.zeros(405, FEATURES)
    rows["order"] = np.random.default_rng(0).permutation(405)
    rows["signature"] = np.nan
    rows["content"][:400], rows["content"][400:] = 7, np.arange(10, 15)
    rows["view_spread"] = np.linspace(2, 1, 405)
    signal = Signal(Reason.VIEW_SPREAD, lambda some: some["view_spread"], lambda _: "")
    nobody = np.zeros(0, np.int64)
    chosen = choose(rows, [signal], nobody, 6, None, np.zeros(0, np.uint64))
    assert [one.index for one in chosen] == [0, 400, 401, 402, 403, 404]


def test_of_failures_one_of_a_kind_in_a_folder_is_chosen_the_likeliest_to_hide_people_first():
    failed = [
        image(number, None, folder=folder, status=status)
        for number, (folder, status) in enumerate(
            (folder, status)
            for folder in "abab"
            for status in (ImageStatus.CORRUPT, ImageStatus.TIMEOUT, ImageStatus.MISSING)
        )
    ]
    queue = selected([failed], budget=10)
    words = [(entry.image_key[0], entry.words) for entry in queue.images]
    assert Counter(words) == {
        (folder, f"failed ({status}) and may hold people"): 1
        for folder in "ab"
        for status in ("timeout", "corrupt")
    }
    assert all("timeout" in text for _, text in words[:2])


@pytest.fixture
def standing(tmp_path: Path) -> Standing:
    """Twelve images of some persons, six of which somebody has looked at."""
    standing = Standing(Storage(), f"{tmp_path}/in", f"{tmp_path}/out")
    Path(standing.input).mkdir()
    for number in range(12):
        Path(standing.input, f"{number:02d}.png").write_bytes(picture(number))
    standing.sync()
    rows = models_rows(standing.output)
    import_into(standing, [("ann", [corrected(rows[f"{number:02d}.png"], 1, number) for number in range(6)])])
    return standing


def keys_of(queue: ReviewQueue) -> set[str]:
    return {entry.image_key for entry in queue.images}


def test_what_people_looked_at_is_chosen_again_only_where_its_bytes_are_others(standing: Standing):
    queue, _ = select_images(standing.output, SelectOptions(12, control_share=0.0))
    assert queue.images
    assert min(keys_of(queue)) >= "06.png"
    Path(standing.input, "03.png").write_bytes(picture(99))
    standing.sync()
    again, _ = select_images(standing.output, SelectOptions(12, control_share=0.0))
    assert keys_of(again) - keys_of(queue) == {"03.png"}
    assert (again.images[0].image_key, again.images[0].reason) == ("03.png", Reason.REPLACED)


def test_what_people_say_changes_no_signal(standing: Standing):
    """Those of the network's rows: pre-labels are the network's too."""
    queue, _ = select_images(standing.output, SelectOptions(18, control_share=1.0))
    undo_in(standing, standing.output.human_rows().log.active())
    before, _ = select_images(standing.output, SelectOptions(24, control_share=1.0))
    reasons, expected = (
        {entry.image_key: entry.words for entry in one.images if entry.image_key >= "06.png"}
        for one in (queue, before)
    )
    assert len(reasons) == 6
    assert reasons == expected
    found = models_rows(standing.output)
    for task in read_tasks(standing.output, before.record.queue_id, min_score=0.0):
        poses = found[task.image_key].poses
        assert poses is not None
        assert len(task.persons) == len(poses)


def test_the_draw_takes_reviewed_images_too_and_they_cost_nothing_of_the_budget(standing: Standing):
    queue, _ = select_images(standing.output, SelectOptions(8, control_share=0.75))
    old = [entry for entry in queue.images if entry.is_reviewed]
    assert old
    assert max(entry.image_key for entry in old) < "06.png"
    assert all(entry.is_control for entry in old)
    tasks = read_tasks(standing.output)
    assert len(tasks) == len(queue.images) - len(old) <= 8
    assert tasks.left_out == {"reviewed before it was drawn": len(old)}
    undo_in(standing, standing.output.human_rows().log.active())
    fresh, _ = select_images(standing.output, SelectOptions(8, control_share=0.75))
    assert {e.image_key for e in queue.images if e.is_control} == {
        e.image_key for e in fresh.images if e.is_control
    }


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 3), max_size=4), st.lists(st.integers(0, 3), max_size=4)),
        min_size=1,
        max_size=8,
    ),
    numbers,
)
def test_persons_of_two_runs_are_the_same_where_pairing_says_so(images, seed):
    """Persons of few places, near each other, so that some are like two."""
    rng = np.random.default_rng(seed)

    def run(kinds: list[list[int]]) -> list[ImageResult]:
        rows = []
        for number, places in enumerate(kinds):
            joints = STANDING[np.newaxis] + np.array(places)[:, None, None] * [6.0, 4.0]
            poses = people(0, max(1, len(places)))[: len(places)]
            keypoints = (joints + rng.normal(0, 5, joints.shape)).astype(np.float32)
            rows.append(image(number, dataclasses.replace(poses, keypoints=keypoints.reshape(-1, 17, 2))))
        return rows

    one, other = run([a for a, _ in images]), run([b for _, b in images])
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as file:
        uris = [write_run(Path(folder, name), [rows]) for name, rows in (("one", one), ("other", other))]
        two = RunDisagreement.read(RunOutput.at(uris[1], Storage()), COCO, file)
        (part,) = RunOutput.at(uris[0], Storage()).rows().persons(COLUMNS, FIELDS)
        measured, persons = features_of(part, 0, 17, 0.3, 0, {})
        two.compare(measured, part, persons)
    for row, (a, b) in enumerate(zip(one, other, strict=True)):
        assert a.poses is not None
        assert b.poses is not None
        pairs = pair_persons(a.poses.keypoints, b.poses.keypoints, np.array(COCO.sigmas), 0.5)
        assert measured["differ"][row] == len(a.poses) + len(b.poses) - 2 * len(pairs.one)
        assert measured["other_persons"][row] == len(b.poses)


def test_what_a_generation_has_more_of_than_those_before_is_a_reason(tmp_path: Path):
    standing = Standing(Storage(), f"{tmp_path}/in", f"{tmp_path}/out")
    photographs = Path(standing.input)
    photographs.mkdir()
    for number in range(30):
        (photographs / f"{number:02d}.png").write_bytes(picture(number))
    standing.sync()
    for number in range(30):
        (photographs / f"b{number}.png").write_bytes(encode(gradient(200 + number, 100), "PNG"))
    standing.sync()
    queue, _ = select_images(standing.output, SelectOptions(40, control_share=0.0))
    found = chosen_by(queue, Reason.DRIFT)
    assert found
    assert {entry.image_key[0] for entry in found} == {"b"}
    assert all("drift: longer side, px 2" in entry.words for entry in found)
    assert queue.record.generation == 2
    before, _ = select_images(RunOutput.at(standing.output_uri, standing.storage, 1), SelectOptions(40))
    assert before.record.generation == 1
    assert not chosen_by(before, Reason.DRIFT)
    assert not [entry for entry in before.images if entry.image_key[0] == "b"]


def test_the_job_says_how_many_were_chosen_for_which_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    uri, other = (write_run(tmp_path / name, [plain(30)]) for name in ("run", "other"))
    words = ["select", "--output", uri, "--budget", "10", "--per-folder", "7", "--against", other]
    assert review.main(words) == 0
    (first, *lines) = capsys.readouterr().out.splitlines()
    queue = read_queue(RunOutput.at(uri, Storage()))
    assert first == f"{queue.record.queue_id}: 7 of 30 images (unfinished run)"
    assert lines[-1].endswith(f"/review/queues/00000000-{queue.record.queue_id}.parquet")
    assert (queue.record.budget, queue.record.per_folder, queue.record.against) == (10, 7, other)
    assert review.main(words) == 0
    assert len(list_queues(RunOutput.at(uri, Storage()))) == 1
    assert review.main(["select", "--output", uri, "--budget", "0"]) == 2
