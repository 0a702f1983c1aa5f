"""Reviewers' answers: told, kept apart, refused with their place, undone, and made ground truth of."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.answers import answer, everybody
from support.corrections import models_rows
from support.queues import queue_of
from support.rows import some_poses
from support.s3 import Bucket
from support.standing import Standing, persons_in, picture

from pipeline.evaluation.benchmark import Benchmark, ScoreOptions
from pipeline.output.review_queue import write_queue
from pipeline.output.schema import MODEL, ImageResult
from pipeline.packing.sources import FolderSource
from pipeline.review.corrections import Imported, import_reviews, undo_reviews
from pipeline.review.edits import UNMOVED_PX, edits_of
from pipeline.review.ground_truth import write_ground_truth
from pipeline.review.labels import ReviewedImage, ReviewedPerson
from pipeline.review.same_persons import oks_matrix, same_persons
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, ImageStatus
from posrefine.skeletons import COCO

PEOPLED = [seed for seed in range(60) if persons_in(picture(seed)) > 0]


@pytest.fixture
def standing(tmp_path: Path) -> Standing:
    """Six images with people and a broken one, annotated by a network that does nothing."""
    (tmp_path / "in").mkdir()
    for number in range(6):
        (tmp_path / "in" / f"{number}.png").write_bytes(picture(PEOPLED[number]))
    (tmp_path / "in" / "broken.png").write_bytes(picture(-1))
    standing = Standing(Storage(), str(tmp_path / "in"), str(tmp_path / "out"), {"min_score": 0.0})
    standing.sync()
    return standing


def take(standing: Standing, *answers: ReviewedImage) -> Imported:
    return import_reviews(standing.output, answers, ["answers.json"])


def rows_of(standing: Standing) -> dict[str, ImageResult]:
    return {image.image_key: image for image in standing.output.images()}


def moved(person: ReviewedPerson, joint: int, px: float) -> ReviewedPerson:
    keypoints = person.keypoints.copy()
    keypoints[joint, 0] += px
    return dataclasses.replace(person, keypoints=keypoints)


@pytest.mark.parametrize("stated", [True, False])
def test_an_import_tells_what_became_of_every_person_and_by_how_many_pixels(standing: Standing, stated: bool):
    found = models_rows(standing.output)
    first, second, third = (everybody(found[f"{n}.png"], stated=stated) for n in range(3))
    stranger = ReviewedPerson(some_poses(1, 99).keypoints[0] + 3000, np.full(17, 1, np.int8))
    told = take(
        standing,
        answer(found["0.png"], first[::-1]),
        answer(found["1.png"], [moved(second[0], 9, 12.0), *second[1:], stranger]),
        answer(found["2.png"], third[1:]),
    )
    edits = told.edits["ann"]
    assert (edits.confirmed, edits.moved, edits.added, edits.removed) == (
        len(first) + len(second) - 1 + len(third) - 1, 1, 1, 1,
    )  # fmt: skip
    assert told.images == told.reviewed == 3
    said = "\n".join(told.lines())
    assert "1 moved, 1 added, 1 removed" in said
    (wrist,) = (line for line in said.splitlines() if line.startswith("left_wrist"))
    assert wrist.split()[-2:] == ["12.0", "12.0"]
    rows = rows_of(standing)
    assert rows["1.png"].source == "ann"
    assert rows["1.png"].labels is not None
    assert rows["1.png"].labels.visibility[-1].tolist() == [1] * 17
    # Boxes that the tool has not are around the labelled joints.
    assert rows["0.png"].poses is not None
    np.testing.assert_allclose(
        rows["0.png"].labels.boxes_xywh,  # type: ignore[union-attr]
        rows["0.png"].poses.boxes_xywh,
    )


def test_answers_without_sha256_find_their_image_by_key_which_is_said_aloud(standing: Standing):
    found = models_rows(standing.output)
    told = take(standing, answer(found["3.png"], everybody(found["3.png"]), sha256=None))
    assert "1 of them matched by key alone" in "\n".join(told.lines())
    assert rows_of(standing)["3.png"].source == "ann"


def bad_answers(image: ImageResult) -> dict[str, Any]:
    (person, *_) = everybody(image)
    none = np.zeros(17, np.int8)
    return {
        "neither by sha256 nor by key": answer(image, [], sha256=None, key=None),
        "no image of this output has the sha256 beef": answer(image, [], sha256="beef", key="x.png"),
        "no image of this output has the key 'x.png'": answer(image, [], sha256=None, key="x.png"),
        "says 0.png is 9 x 4 px, the tables say 4 x 4": answer(image, [person], size=(9, 4)),
        "called 'model'": answer(image, [person], MODEL),
        r"called 'ann\\ud800'": answer(image, [person], "ann\ud800"),
        "visibility .7.": answer(image, [dataclasses.replace(person, visibility=none + 7)]),
        "neither a labelled joint nor a box": answer(image, [dataclasses.replace(person, visibility=none)]),
        "expected .17, 2. for coco": answer(
            image, [ReviewedPerson(person.keypoints[:5], person.visibility[:5])]
        ),
        "no numbers": answer(image, [moved(person, 0, np.nan)]),
        "says something else about 0.png than at": answer(image, [moved(person, 0, 5)]),
    }  # fmt: skip


@pytest.mark.parametrize("what", range(11))
def test_what_does_not_fit_is_refused_with_its_place_and_nothing_is_imported(standing: Standing, what: int):
    image = models_rows(standing.output)["0.png"]
    reason, bad = list(bad_answers(image).items())[what]
    with pytest.raises(ConfigurationError, match=f"answers.json: image 0.png.*{reason}"):
        take(standing, answer(image, everybody(image)), bad)
    assert {row.source for row in standing.output.images()} == {MODEL}
    assert standing.output.human_rows().version == 0


def test_a_key_that_was_given_out_for_two_images_one_after_the_other_tells_neither(standing: Standing):
    old = models_rows(standing.output)["1.png"]
    write_queue(standing.output, queue_of([old], control=1))
    (Path(standing.input) / "1.png").write_bytes(picture(PEOPLED[30]))
    standing.sync()
    lost = answer(old, everybody(old), sha256=None)
    assert take(standing, lost).gone == ("answers.json: image 1.png",)
    queue = queue_of([models_rows(standing.output)["1.png"]], control=1)
    record = queue.record.model_copy(update={"queue_id": "q2"})
    write_queue(standing.output, dataclasses.replace(queue, record=record))
    with pytest.raises(ConfigurationError, match=r"2 images were given out under the key '1\.png'"):
        take(standing, lost)
    assert rows_of(standing)["1.png"].source == MODEL


def test_answers_about_images_that_were_replaced_meanwhile_are_left_aside_and_said(standing: Standing):
    found = models_rows(standing.output)
    (Path(standing.input) / "1.png").write_bytes(picture(PEOPLED[30]))
    standing.sync()
    told = take(
        standing,
        answer(found["0.png"], everybody(found["0.png"])),
        answer(found["1.png"], everybody(found["1.png"])),
    )
    assert (told.images, told.gone) == (1, ("answers.json: image 1.png",))
    assert "1 answers about images that were replaced or deleted since" in "\n".join(told.lines())
    assert rows_of(standing)["1.png"].source == MODEL


def test_a_failed_image_that_somebody_labelled_is_ok_and_one_with_nobody_stays_failed(standing: Standing):
    broken = rows_of(standing)["broken.png"]
    assert broken.status is not ImageStatus.OK
    if broken.width is None:
        broken = dataclasses.replace(broken, width=4, height=4)
    told = take(standing, answer(broken, []))
    assert told.unseen == ("answers.json: image broken.png",)
    assert told.imports == ()
    with pytest.raises(ConfigurationError, match=r"broken.png failed in the run .*before its size was known"):
        take(standing, answer(broken, everybody(models_rows(standing.output)["0.png"])))


def test_twice_is_once_two_reviewers_are_kept_apart_and_undo_takes_either_back(standing: Standing):
    image = models_rows(standing.output)["0.png"]
    people = everybody(image)
    ann, bob = answer(image, people), answer(image, people[:-1], "bob")
    first = take(standing, ann, answer(image, people[::-1]))
    assert len(first.imports) == 1
    again = take(standing, answer(image, people[::-1]))
    assert (again.imports, again.reviewed, again.outdone) == ((), 1, 0)
    assert "imported before" in "\n".join(again.lines())
    take(standing, bob)
    assert rows_of(standing)["0.png"].source == "bob"
    outdone = take(standing, ann)
    assert (outdone.imports, outdone.outdone) == ((), 1)
    assert "in 1 of these images a later import counts; undo it" in "\n".join(outdone.lines())
    assert rows_of(standing)["0.png"].source == "bob"
    nothing = take(standing)
    assert next(iter(nothing.lines())).startswith("nothing imported: the files hold no answer")

    with pytest.raises(ConfigurationError, match="nothing of theirs counts; there is ann, bob"):
        undo_reviews(standing.output, reviewer="cleo")
    with pytest.raises(ConfigurationError, match="names 0 imports that count"):
        undo_reviews(standing.output, import_id="beefbeef")
    with pytest.raises(ConfigurationError, match="either --reviewer or --import"):
        undo_reviews(standing.output)
    assert undo_reviews(standing.output, reviewer="bob").reviewed == 1
    assert rows_of(standing)["0.png"].source == "ann"
    undone = undo_reviews(standing.output, import_id=first.imports[0].digest[:8])
    assert undone.reviewed == 0
    assert rows_of(standing)["0.png"].source == MODEL
    assert take(standing, ann).reviewed == 1


def files_of(standing: Standing) -> dict[str, tuple[bytes, int]]:
    """Everything below the output but the lease of its writers, and when it was written last."""
    root = Path(standing.output_uri)
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "lock.json"
    }


def test_answers_that_come_once_more_in_whatever_order_leave_every_file_of_the_output_as_it_is(
    standing: Standing,
):
    found = models_rows(standing.output)
    people = {key: [moved(one, 5, 9.0) for one in everybody(image)] for key, image in found.items()}
    answers = [
        answer(found[key], people[key], reviewer) for reviewer in ("ann", "bob") for key in ("0.png", "1.png")
    ]
    take(standing, *answers)
    before = files_of(standing)
    again = [dataclasses.replace(one, persons=one.persons[::-1]) for one in answers]
    bob_first = [again[3], again[1], again[2], again[0]]
    for once_more in (answers, again, bob_first, again[:2], again[2:]):
        told = take(standing, *once_more)
        assert (told.imports, told.restored, told.reviewed) == ((), (), 2)
        assert files_of(standing) == before


def test_each_of_two_reviewers_keeps_every_joint_whoever_of_them_counts(standing: Standing):
    image = models_rows(standing.output)["0.png"]
    said = {
        name: [moved(one, 5, 7.0 + number) for one in everybody(image)]
        for number, name in enumerate(("ann", "bob"))
    }
    # In one file, as Label Studio exports them.
    told = take(standing, *(answer(image, people, name) for name, people in said.items()))
    assert [one.reviewer for one in told.imports] == ["ann", "bob"]
    for name, gone in (("bob", "bob"), ("ann", None)):
        row = rows_of(standing)["0.png"]
        assert row.source == name
        assert_says(row, said[name])
        if gone:
            undo_reviews(standing.output, reviewer=gone)


def assert_says(row: ImageResult, people: Sequence[ReviewedPerson]) -> None:
    """The row has just these persons, joint for joint and flag for flag."""
    assert row.poses is not None
    assert row.labels is not None
    np.testing.assert_array_equal(row.poses.keypoints, np.array([one.keypoints for one in people]))
    np.testing.assert_array_equal(row.labels.visibility, np.array([one.visibility for one in people]))


def test_syncs_retries_and_other_networks_leave_every_joint_as_people_said_it(standing: Standing):
    found, folder = models_rows(standing.output), Path(standing.input)
    people = {
        key: [moved(one, 5, 9.0) for one in everybody(found[key])] for key in ("0.png", "1.png", "2.png")
    }
    take(standing, *(answer(found[key], persons) for key, persons in people.items()))

    def check() -> None:
        rows = rows_of(standing)
        for key, persons in people.items():
            assert rows[key].source == "ann"
            assert_says(rows[key], persons)

    check()
    (folder / "3.png").write_bytes(picture(PEOPLED[20]))
    (folder / "new.png").write_bytes(picture(PEOPLED[21]))
    (folder / "0.png").write_bytes((folder / "0.png").read_bytes())  # the same bytes, written later
    standing.sync()
    check()
    (folder / "1.png").rename(folder / "elsewhere.png")
    people["elsewhere.png"] = people.pop("1.png")
    standing.sync()
    check()
    (folder / "broken.png").write_bytes(picture(PEOPLED[22]))
    standing.retry()
    check()
    standing.replace(1)
    check()
    # Other bytes under the name of one that was reviewed are no longer people's.
    (folder / "2.png").write_bytes(picture(PEOPLED[23]))
    standing.network = 1
    standing.sync()
    assert rows_of(standing)["2.png"].source == MODEL
    del people["2.png"]
    check()


def test_corrected_images_are_ground_truth_by_which_the_network_alone_is_scored(
    standing: Standing, tmp_path: Path
):
    found = models_rows(standing.output)
    hidden = np.array([0, 1, 2] * 5 + [2, 2], np.int8)
    (person, *others) = everybody(found["0.png"])
    take(
        standing,
        answer(found["0.png"], [dataclasses.replace(person, visibility=hidden), *others]),
        answer(found["1.png"], everybody(found["1.png"])[:0]),
    )
    written = write_ground_truth(standing.output, str(tmp_path / "truth.json"))
    content = json.loads((tmp_path / "truth.json").read_text())
    assert (written.images, written.persons) == (2, 1 + len(others))
    assert [image["file_name"] for image in content["images"]] == ["0.png", "1.png"]
    flags = np.array(content["annotations"][0]["keypoints"]).reshape(17, 3)
    np.testing.assert_array_equal(flags[:, 2], hidden)
    np.testing.assert_allclose(flags[hidden > 0, :2], person.keypoints[hidden > 0], atol=6e-3)
    assert content["annotations"][0]["num_keypoints"] == int((hidden > 0).sum())
    source = FolderSource.open(standing.input, str(tmp_path / "truth.json"), Storage())
    assert sum(len(image.annotations) for image in source.images(0, 2, Storage())) == written.persons

    benchmark = Benchmark.open(str(tmp_path / "truth.json"), "coco", Storage())
    scored = {
        source: benchmark.score(standing.output_uri, ScoreOptions(draws=5, source=source)).evaluation  # type: ignore[arg-type]
        for source in ("corrected", "model")
    }
    assert scored["corrected"].detections == written.persons
    assert scored["model"].detections == written.persons + len(everybody(found["1.png"]))
    codes = {name: {f.code for f in evaluation.warnings} for name, evaluation in scored.items()}
    assert "images_corrected" in codes["corrected"]
    assert "images_corrected" not in codes["model"]


def test_without_corrections_there_is_no_ground_truth(standing: Standing, tmp_path: Path):
    with pytest.raises(ConfigurationError, match="nobody corrected any"):
        write_ground_truth(standing.output, str(tmp_path / "truth.json"))
    assert not (tmp_path / "truth.json").exists()


@settings(deadline=None, max_examples=60)
@given(
    persons=st.integers(0, 4),
    kept=st.sets(st.integers(0, 3)),
    shift=st.sampled_from([0.0, 0.3, 4.0]),
    added=st.integers(0, 2),
    order=st.randoms(use_true_random=False),
    stated=st.booleans(),
)
def test_persons_are_all_accounted_for_in_whatever_order_they_come(
    persons: int, kept: set[int], shift: float, added: int, order: Any, stated: bool
):
    found = some_poses(persons, 7)
    rows = [row for row in kept if row < persons]
    people = [(found.keypoints[row] + shift, row) for row in rows]
    people += [(some_poses(1, 50 + n).keypoints[0] + 4000, None) for n in range(added)]
    order.shuffle(people)
    keypoints = np.array([one for one, _ in people], np.float32).reshape(-1, 17, 2)
    visibility = np.full(keypoints.shape[:2], 2, np.int8)
    low, high = keypoints.min(axis=1, initial=1e9), keypoints.max(axis=1, initial=-1e9)
    like = oks_matrix(found.keypoints, keypoints, visibility, np.hstack([low, high - low]), COCO.sigmas)
    same = same_persons(like.oks, [row for _, row in people] if stated else [])
    assert same == [row for _, row in people]
    edits = edits_of(found, same, keypoints, visibility, [None] * len(same), (500, 500))
    assert edits.confirmed + edits.moved == len(rows)
    assert (edits.added, edits.removed) == (added, persons - len(rows))
    assert edits.confirmed == (len(rows) if shift < UNMOVED_PX else 0)
    np.testing.assert_allclose(edits.distances_px, np.hypot(shift, shift), atol=6e-3)


def test_in_a_bucket_corrections_come_and_go_by_conditional_puts(s3_bucket: Bucket):
    for number in range(3):
        s3_bucket.write(f"in/{number}.png", picture(PEOPLED[number]))
    standing = Standing(Storage(), f"{s3_bucket.uri}/in", f"{s3_bucket.uri}/out", {"min_score": 0.0})
    standing.sync()
    image = models_rows(standing.output)["1.png"]
    told = take(standing, answer(image, everybody(image)[:1]))
    assert rows_of(standing)["1.png"].source == "ann"
    s3_bucket.write("in/1.png", picture(PEOPLED[5]))
    standing.sync()
    assert rows_of(standing)["1.png"].source == MODEL
    s3_bucket.write("in/1.png", picture(PEOPLED[1]))
    standing.sync()
    assert rows_of(standing)["1.png"].source == "ann"
    undo_reviews(standing.output, import_id=told.imports[0].digest)
    assert rows_of(standing)["1.png"].source == MODEL
    keys = s3_bucket.keys()
    names = {key.split("/")[2] for key in keys if key.startswith("out/review/")}
    assert names == {"log", "imports"}
