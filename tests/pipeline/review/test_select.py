"""Images are chosen for what the tables say of them, within the budget, and by chance."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.queues import chosen_by
from support.runs import metadata_of, write_run
from support.selected import image, numbers, people, plain, selected

from jobs import review
from pipeline.output.review_queue import Reason, list_queues, read_queue
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import ImageResult
from pipeline.review.choice import draw_control
from pipeline.review.image_features import COLUMNS, FIELDS, features_of
from pipeline.storage import Storage
from posrefine.errors import ImageStatus
from posrefine.poses import Poses


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


def test_in_ray_tasks_the_queue_is_the_one_of_a_single_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pipeline.review.passes._IMAGES_PER_TASK", 20)
    rng = np.random.default_rng(0)
    images = [
        image(number, people(number, 1 + number % 3, score=0.3 + 0.6 * rng.random(), spread_px=number % 7))
        for number in range(90)
    ]
    units = [images[:30], images[30:45], images[45:70], [*images[70:], image(90, None)]]
    other = [dataclasses.replace(one, poses=people(number // 2, 2)) for number, one in enumerate(images)]
    here, there = (
        selected(units, budget=40, seed=3, per_folder=30, other=other, distributed=distributed)
        for distributed in (False, True)
    )
    # The other run lies elsewhere each time.
    assert there.images == here.images
    assert {Reason.PEOPLE_DIFFER, Reason.VIEW_SPREAD, Reason.UNUSUAL_POSE, Reason.FAILED} <= {
        entry.reason for entry in here.images
    }


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


def at_scales(folder: Path, scales: list[float], persons: dict[int, int]) -> str:
    """A run of twelve images at these test scales, that has so many persons in some of them, else one."""
    count = {number: persons.get(number, 1) for number in range(12)}
    # One view has nothing to lie apart from: where people differ is all that stands out.
    spread_px = np.nan if len(scales) == 1 else 1.0
    images = [image(number, people(number, count[number], spread_px=spread_px)) for number in range(12)]
    metadata = metadata_of()
    settings = json.loads(metadata.settings) | {"scales": scales, "flip": False}
    return write_run(folder, [images], dataclasses.replace(metadata, settings=json.dumps(settings)))


def test_two_scales_of_one_network_are_compared_as_two_runs_and_images_where_they_differ_are_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    one = at_scales(tmp_path / "one", [1.0], {3: 1, 5: 2, 8: 1})
    two = at_scales(tmp_path / "two", [1.0, 2.0], {3: 2, 5: 1, 8: 4})
    rows = [RunOutput.rows_at(uri, Storage()) for uri in (one, two)]
    assert rows[0].weights_sha256 == rows[1].weights_sha256
    assert [run.settings["scales"] for run in rows] == [[1.0], [1.0, 2.0]]
    words = ["select", "--output", one, "--budget", "12", "--control-share", "0"]
    assert review.main([*words, "--against", two]) == 0
    assert "3  two runs disagree on the people" in capsys.readouterr().out
    found = chosen_by(read_queue(RunOutput.at(one, Storage())), Reason.PEOPLE_DIFFER)
    assert found[0].image_key == "a/8.jpg"
    assert {entry.image_key: entry.words.partition(": ")[2] for entry in found} == {
        "a/3.jpg": "1 in this one, 2 in the other",
        "a/5.jpg": "2 in this one, 1 in the other",
        "a/8.jpg": "1 in this one, 4 in the other",
    }
