"""Whatever images were given out with, what nobody touched comes back as confirmed."""

from __future__ import annotations

import json
import random
import tempfile
import zipfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.answers import answered_untouched
from support.queues import queue_of
from support.standing import Standing, persons_in, picture

from pipeline.output.review_queue import write_queue
from pipeline.review.corrections import Imported, import_reviews
from pipeline.review.formats.answer_files import Tool
from pipeline.review.formats.pre_labels import TaskFile
from pipeline.review.labels import PreLabel, ReviewedImage, ReviewTask
from pipeline.review.queue import read_tasks
from pipeline.review.read_reviews import read_reviews
from pipeline.review.sharing import shared_out
from pipeline.review.write_tasks import write_tasks
from pipeline.storage import Storage
from posrefine.skeletons import COCO

TOOLS: tuple[Tool, ...] = ("cvat", "label-studio", "fiftyone", "coco")
FLOOR = 0.5
SIDES_PX = (100, 300)
"""Half of the persons lie wholly outside of the small ones, and none of the large ones."""


@pytest.fixture
def standing(tmp_path: Path) -> Standing:
    """Eight images with people, some of them outside, whose scores lie on both sides of the run's floor."""
    (tmp_path / "in").mkdir()
    pictures = (picture(seed, SIDES_PX[seed % 2]) for seed in range(60))
    for number, data in enumerate([data for data in pictures if persons_in(data) > 0][:8]):
        (tmp_path / "in" / f"{number}.png").write_bytes(data)
    standing = Standing(Storage(), str(tmp_path / "in"), str(tmp_path / "out"), {"min_score": FLOOR})
    standing.sync()
    return standing


def given_out(
    standing: Standing, tool: Tool, folder: Path, min_score: float | None, min_keypoint_score: float
) -> list[ReviewedImage]:
    """What comes back where every reviewer looks at every image and changes nothing."""
    write_queue(standing.output, queue_of(list(standing.output.images()), control=0))
    tasks = read_tasks(standing.output, min_score=min_score)
    about = TaskFile(COCO, "tiny", min_keypoint_score, None)
    for path in write_tasks({None: tasks.tasks}, tool, str(folder), Storage(), about).files:
        answered_untouched(Path(path))
    return [
        replace(image, is_marked=True)
        for image in read_reviews(Storage(), str(folder), COCO, reviewer="ann", may_be_empty=True)
    ]


@pytest.mark.parametrize("min_keypoint_score", [0.0, 0.4])
@pytest.mark.parametrize("min_score", [None, 0.1, 0.8])
@pytest.mark.parametrize("tool", TOOLS)
def test_with_whatever_thresholds_they_were_given_out_untouched_persons_are_confirmed(
    standing: Standing, tool: Tool, min_score: float | None, min_keypoint_score: float, tmp_path: Path
):
    back = given_out(standing, tool, tmp_path / "tasks", min_score, min_keypoint_score)
    told = import_reviews(standing.output, back, ["tasks"])
    edits = told.edits["ann"]
    assert told.images == len(back) == 8
    assert (edits.moved, edits.added, edits.removed) == (0, 0, 0)
    assert edits.confirmed == sum(len(image.persons) for image in back)
    assert edits.confirmed > 0 or min_score == 0.8
    assert (np.nan_to_num(edits.distances_px) < 0.05).all()


@pytest.mark.parametrize("tool", TOOLS)
def test_a_joint_taken_away_of_a_person_given_out_with_fewer_is_a_change(
    standing: Standing, tool: Tool, tmp_path: Path
):
    def without_one(image: ReviewedImage) -> ReviewedImage:
        (first, *others) = image.persons
        visibility = first.visibility.copy()
        visibility[np.flatnonzero(visibility)[0]] = 0
        return replace(image, persons=(replace(first, visibility=visibility), *others))

    back = given_out(standing, tool, tmp_path / "tasks", 0.1, 0.2)
    rich = [n for n, one in enumerate(back) if one.persons and (one.persons[0].visibility > 0).sum() > 1]
    back[rich[0]] = without_one(back[rich[0]])
    edits = import_reviews(standing.output, back, ["tasks"]).edits["ann"]
    assert (edits.moved, edits.added, edits.removed) == (1, 0, 0)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_joint_taken_away_and_another_put_in_its_stead_is_a_change(
    standing: Standing, tool: Tool, tmp_path: Path
):
    images = {image.image_key: image for image in standing.output.images()}

    def with_another(image: ReviewedImage) -> ReviewedImage:
        (first, *others) = image.persons
        keypoints, visibility = first.keypoints.copy(), first.visibility.copy()
        visibility[np.flatnonzero(visibility)[0]] = 0
        (weak, *_) = np.flatnonzero(first.visibility == 0)
        poses = images[str(image.image_key)].poses
        assert poses is not None
        keypoints[weak], visibility[weak] = poses.keypoints[first.person][weak], 2
        return replace(image, persons=(replace(first, keypoints=keypoints, visibility=visibility), *others))

    back = given_out(standing, tool, tmp_path / "tasks", 0.1, 0.2)
    rich = [n for n, one in enumerate(back) if one.persons and 1 < (one.persons[0].visibility > 0).sum() < 17]
    back[rich[0]] = with_another(back[rich[0]])
    edits = import_reviews(standing.output, back, ["tasks"]).edits["ann"]
    assert (edits.moved, edits.added, edits.removed) == (1, 0, 0)


@pytest.mark.parametrize("tool", ["cvat", "fiftyone", "coco"])
def test_where_another_network_has_annotated_since_the_numbers_of_persons_say_nothing(
    standing: Standing, tool: Tool, tmp_path: Path
):
    """Its persons are told by how they lie, as where the tool has lost all numbers."""
    back = [image for image in given_out(standing, tool, tmp_path / "tasks", None, 0.0) if image.persons]
    standing.replace(network=1)
    told = import_reviews(standing.output, back, ["tasks"])
    lost = [
        replace(
            image,
            pre_labels=None,
            persons=tuple(replace(person, person=None, given=None) for person in image.persons),
        )
        for image in back
    ]
    again = Standing(Storage(), standing.input, f"{standing.output_uri}-2", standing.changes, network=1)
    again.sync()
    wanted = import_reviews(again.output, lost, ["tasks"])
    for name in ("confirmed", "moved", "added", "removed"):
        assert getattr(told.edits["ann"], name) == getattr(wanted.edits["ann"], name), name


def test_cocos_images_that_lost_what_they_showed_have_it_from_their_persons(
    standing: Standing, tmp_path: Path
):
    back = given_out(standing, "coco", tmp_path / "tasks", 0.1, 0.4)
    kept = {image.image_key: image.pre_labels for image in back if image.persons}
    (path,) = (tmp_path / "tasks").glob("*.zip")
    name = "annotations/person_keypoints_default.json"
    with zipfile.ZipFile(path) as archive:
        content = json.loads(archive.read(name))
    for image in content["images"]:
        del image["pre_labels"]
    (tmp_path / "lost.json").write_text(json.dumps(content))
    again = list(read_reviews(Storage(), str(tmp_path / "lost.json"), COCO, may_be_empty=True))
    assert {image.image_key: image.pre_labels for image in again if image.persons} == kept


def test_a_person_that_was_given_out_and_is_gone_is_removed_also_below_the_runs_floor(
    standing: Standing, tmp_path: Path
):
    back = given_out(standing, "coco", tmp_path / "tasks", 0.0, 0.0)
    images = {image.image_key: image for image in standing.output.images()}
    at, number = next(
        (n, index)
        for n, one in enumerate(back)
        for index, person in enumerate(one.persons)
        if images[str(one.image_key)].poses.scores[person.person] < FLOOR  # type: ignore[union-attr]
    )
    rest = tuple(other for index, other in enumerate(back[at].persons) if index != number)
    back[at] = replace(back[at], persons=rest)
    told: Imported = import_reviews(standing.output, back, ["tasks"])
    assert (told.edits["ann"].removed, told.edits["ann"].moved) == (1, 0)


names = st.text(st.characters(exclude_categories=["C"], exclude_characters="/"), min_size=1, max_size=9)


def pre_labels(rows: list[int], seed: int) -> tuple[PreLabel, ...]:
    """Persons of those numbers; a joint in eight lies outside of the frame, of some persons all of them."""
    rng, joints, found = np.random.default_rng(seed), COCO.num_joints, []
    for row in sorted(rows):
        places = rng.uniform((0, 0), (639, 479), (joints, 2))
        outside = rng.random(joints) < rng.choice([0.125, 1.0], p=[0.8, 0.2])
        places[outside] += rng.choice([-700, 700], (outside.sum(), 2))
        found.append(PreLabel(row, places.astype(np.float32), np.full(joints, 0.9, np.float32), 0.5))
    return tuple(found)


@st.composite
def task_lists(draw: st.DrawFn) -> list[ReviewTask]:
    tasks = []
    for number, name in enumerate(draw(st.lists(names, min_size=1, max_size=5, unique=True))):
        rows = draw(st.lists(st.integers(0, 30), max_size=3, unique=True))
        persons = pre_labels(rows, draw(st.integers(0, 2**32)))
        key = f"folder/{name}.jpg"
        tasks.append(ReviewTask(key, f"{number + 1:064x}", f"/photos/{key}", 640, 480, "asked", persons))
    return tasks


@pytest.mark.parametrize("tool", TOOLS)
@settings(max_examples=15, deadline=None)
@given(tasks=task_lists(), overlap=st.sampled_from([0.0, 0.5, 1.0]), seed=st.integers(0, 2**16))
def test_any_selection_shared_out_to_any_reviewers_comes_back_from_whatever_files(
    tool: Tool, tasks: Sequence[ReviewTask], overlap: float, seed: int
):
    chance = random.Random(seed)
    shares = shared_out(tasks, ["ann", "bob", "eve"], overlap, seed)
    with tempfile.TemporaryDirectory() as root:
        written = write_tasks(shares, tool, f"{root}/given", Storage(), TaskFile(COCO, "tiny", 0.0, None))
        # Files come back under other names, in other folders, some of them twice.
        files = [answered_untouched(Path(name)) for name in written.files if Path(name).stem in shares]
        for number, file in enumerate(chance.sample(files, len(files)) + chance.sample(files, 1)):
            place = Path(root) / "back" / chance.choice("xyz") / f"{number}{file.suffix}"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(file.read_bytes())
        back = list(read_reviews(Storage(), f"{root}/back", COCO, may_be_empty=True))
    expected = Counter((name, task.image_key) for name, own in shares.items() for task in own)
    assert Counter((image.reviewer, image.image_key) for image in back) == expected
    asked = {task.image_key: task for task in tasks}
    for image in back:
        require_as_shown(image, asked[str(image.image_key)])


def require_as_shown(image: ReviewedImage, task: ReviewTask) -> None:
    """Every person with a joint in the frame, under its number, with those joints."""
    shown = {}
    for person in task.persons:
        inside = ((person.keypoints >= 0) & (person.keypoints < (task.width, task.height))).all(axis=1)
        if inside.any():
            shown[person.person] = inside, person.keypoints
    assert image.sha256 == task.sha256
    assert image.pre_labels == {
        number: sum(1 << joint for joint in np.flatnonzero(inside).tolist())
        for number, (inside, _) in shown.items()
    }
    assert sorted(person.person for person in image.persons) == sorted(shown)  # type: ignore[type-var]
    for person in image.persons:
        inside, keypoints = shown[person.person]  # type: ignore[index]
        np.testing.assert_array_equal(person.visibility > 0, inside)
        np.testing.assert_allclose(person.keypoints[inside], keypoints[inside], atol=0.01)
