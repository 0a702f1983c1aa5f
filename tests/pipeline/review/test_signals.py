"""Why an image is chosen: every signal finds what it is for, and copies and other runs hide nothing."""

from __future__ import annotations

import dataclasses
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.queues import chosen_by
from support.runs import metadata_of, write_run
from support.selected import STANDING, image, numbers, people, plain, selected

from pipeline.output.review_queue import Reason
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import ImageResult
from pipeline.review.choice import choose
from pipeline.review.image_features import COLUMNS, FEATURES, FIELDS, features_of
from pipeline.review.run_disagreement import RunDisagreement
from pipeline.review.select import SelectOptions, select_images
from pipeline.review.signals import Signal
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, ImageStatus
from posrefine.metrics.pairing import pair_persons
from posrefine.poses import Poses
from posrefine.skeletons import COCO, CROWDPOSE


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


def test_a_run_that_shares_no_image_is_refused_instead_of_agreeing_in_silence(tmp_path: Path):
    """A run of a subfolder, for instance: its keys are others."""
    images = plain(3)
    uri = write_run(tmp_path / "run", [images])
    others = {
        "keys": [dataclasses.replace(entry, image_key=f"x/{entry.image_key}") for entry in images],
        "bytes": [dataclasses.replace(entry, sha256="e" * 64) for entry in images],
        "failed": [image(number, None) for number in range(3)],
    }
    for name, rows in others.items():
        other = RunOutput.at(write_run(tmp_path / name, [rows]), Storage())
        with pytest.raises(ConfigurationError, match=f"{other.uri}: has annotated none of the run's images"):
            select_images(RunOutput.at(uri, Storage()), SelectOptions(3, against=other))
    failed = RunOutput.at(write_run(tmp_path / "all failed", [others["failed"]]), Storage())
    queue, _ = select_images(failed, SelectOptions(3, against=RunOutput.at(uri, Storage())))
    assert [entry.reason for entry in queue.images] == [Reason.FAILED]


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
