"""Tasks as they are written, and what becomes of them when a tool gives them back untouched."""

from __future__ import annotations

import logging
import math
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from support.answers import answered_untouched
from support.other_tools import read_fiftyone_sample, read_label_studio, strict_json
from support.s3 import Bucket

from pipeline.export.coco import people
from pipeline.export.fiftyone import keypoints
from pipeline.export.label_studio import regions
from pipeline.output.schema import HumanLabels
from pipeline.review.formats.answer_files import Tool
from pipeline.review.formats.pre_labels import TaskFile, exported
from pipeline.review.labels import PreLabel, ReviewedImage, ReviewTask
from pipeline.review.read_reviews import read_reviews
from pipeline.review.write_tasks import TasksWritten, write_tasks
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError
from posrefine.skeletons import COCO, CROWDPOSE, Skeleton

TOOLS: tuple[Tool, ...] = ("cvat", "label-studio", "fiftyone", "coco")
ODD_KEY = 'a "quoted" & <odd>/100%41 ß\\c.jpg'


def pre_label(number: int, rng: np.random.Generator, skeleton: Skeleton = COCO) -> PreLabel:
    points = rng.uniform((0, 0), (640, 480), (skeleton.num_joints, 2)).astype(np.float32)
    return PreLabel(number, points, rng.uniform(0.3, 1, skeleton.num_joints).astype(np.float32), 0.5)


@pytest.fixture
def tasks() -> list[ReviewTask]:
    """Three images: of an odd name with two persons, without persons, with joints to leave out."""
    rng = np.random.default_rng(3)
    two = (pre_label(0, rng), pre_label(3, rng))
    doubtful = pre_label(0, rng)
    doubtful.keypoints[2] = -20, 700
    doubtful.keypoint_scores[4] = 0.01
    return [
        ReviewTask(ODD_KEY, f"{1:064x}", f"/photos/{ODD_KEY}", 640, 480, "scores near the floor", two),
        ReviewTask("empty.jpg", f"{2:064x}", "/photos/empty.jpg", 640, 480, "drawn by chance", ()),
        ReviewTask("c.jpg", f"{3:064x}", "/photos/c.jpg", 640, 480, "views disagree", (doubtful,)),
    ]


def about(skeleton: Skeleton = COCO, image_root: str | None = None) -> TaskFile:
    return TaskFile(skeleton, "tiny 00ab00ab", 0.1, image_root)


def written(tasks: list[ReviewTask], tool: Tool, folder: Path, **asked: Any) -> TasksWritten:
    own = [replace(task, reviewer="ann") for task in tasks]
    return write_tasks({"ann": own}, tool, str(folder), Storage(), about(**asked))


def back(path: Path, skeleton: Skeleton = COCO) -> dict[str | None, ReviewedImage]:
    return {image.image_key: image for image in read_reviews(Storage(), str(path), skeleton)}


@pytest.mark.parametrize("tool", TOOLS)
def test_what_a_tool_gives_back_untouched_is_what_was_shown(
    tool: Tool, tasks: list[ReviewTask], tmp_path: Path
):
    summary = written(tasks, tool, tmp_path)
    assert summary.shares == {"ann": 3}
    found = back(answered_untouched(Path(summary.files[-1])))
    assert list(found) == [task.image_key for task in tasks]
    for task in tasks:
        image = found[task.image_key]
        assert (image.sha256, image.reviewer) == (task.sha256, "ann")
        assert (image.width, image.height) == (640, 480)
        assert [person.person for person in image.persons] == [one.person for one in task.persons]
        for person, shown in zip(image.persons, task.persons, strict=True):
            kept = (person.visibility == 2).tolist()
            wanted = [True] * 17
            if task.image_key == "c.jpg":
                wanted[2] = wanted[4] = False
            assert kept == wanted
            np.testing.assert_allclose(person.keypoints[kept], shown.keypoints[kept], atol=0.006)
            assert not person.keypoints[~np.array(kept)].any()


@pytest.mark.parametrize("tool", TOOLS)
def test_persons_of_whom_no_joint_is_shown_are_no_pre_labels(
    tool: Tool, tasks: list[ReviewTask], tmp_path: Path
):
    first, second = tasks[0].persons
    first.keypoint_scores[:] = 0.01
    summary = written(tasks, tool, tmp_path)
    assert (summary.persons, summary.blank) == (2, 1)
    assert "left out: 1 persons (none of their joints is shown)" in "\n".join(summary.lines())
    image = back(answered_untouched(Path(summary.files[-1])))[ODD_KEY]
    assert [person.person for person in image.persons] == [second.person]


@pytest.mark.parametrize("tool", TOOLS)
def test_other_skeletons_go_the_same_way(tool: Tool, tmp_path: Path):
    paws = Skeleton(name="cat", joints=("left_paw", "right_paw", 'tail "tip"'), sigmas=(0.05,) * 3)
    rng = np.random.default_rng(0)
    for skeleton in (paws, CROWDPOSE):
        task = ReviewTask("a.jpg", "0" * 64, "/a.jpg", 640, 480, "", (pre_label(1, rng, skeleton),))
        folder = tmp_path / skeleton.name
        summary = written([task], tool, folder, skeleton=skeleton)
        (person,) = back(answered_untouched(Path(summary.files[-1])), skeleton)["a.jpg"].persons
        np.testing.assert_allclose(person.keypoints, task.persons[0].keypoints, atol=0.006)
        with pytest.raises(ConfigurationError, match=r"unknown|another skeleton"):
            list(read_reviews(Storage(), summary.files[-1], COCO))


def test_cvat_gets_labels_a_documented_file_and_joints_it_can_move(tasks: list[ReviewTask], tmp_path: Path):
    labels, archive = map(Path, written(tasks, "cvat", tmp_path).files)
    person, tag = strict_json(labels.read_bytes())
    assert (person["type"], tag["type"]) == ("skeleton", "tag")
    assert [label["name"] for label in person["sublabels"]] == list(COCO.joints)
    drawing = ElementTree.fromstring(f"<svg>{person['svg']}</svg>")
    assert [node.get("data-label-name") for node in drawing.iter("circle")] == list(COCO.joints)
    assert {
        (int(edge.get("data-node-from", 0)) - 1, int(edge.get("data-node-to", 0)) - 1)
        for edge in drawing.iter("line")
    } == set(COCO.limbs)
    assert all(0 < float(node.get("cx", 0)) < 100 for node in drawing.iter("circle"))

    with zipfile.ZipFile(archive) as opened:
        root = ElementTree.fromstring(opened.read("annotations.xml"))
    assert (root.tag, root.findtext("version")) == ("annotations", "1.1")
    declared = {label.findtext("name"): label for label in root.iter("label")}
    assert [(name, label.findtext("parent")) for name, label in declared.items()][1:-1] == [
        (joint, "person") for joint in COCO.joints
    ]
    assert [image.get("name") for image in root.iter("image")] == [task.image_key for task in tasks]
    for image, task in zip(root.iter("image"), tasks, strict=True):
        skeletons = image.findall("skeleton")
        assert len(skeletons) == len(task.persons)
        for drawn in [*skeletons, *image.findall("tag")]:
            allowed = {
                attribute.findtext("name") for attribute in declared[drawn.get("label")].iter("attribute")
            }
            assert {attribute.get("name") for attribute in drawn.findall("attribute")} <= allowed
        for drawn in skeletons:
            assert [point.get("label") for point in drawn.findall("points")] == list(COCO.joints)
            for point in drawn.findall("points"):
                x, y = map(float, point.get("points", "").split(","))
                assert 0 <= x <= 640
                assert 0 <= y <= 480
                assert {point.get("outside"), point.get("occluded")} <= {"0", "1"}


def test_tasks_go_to_a_bucket_and_answers_come_from_it(tasks: list[ReviewTask], s3_bucket: Bucket):
    for tool in ("cvat", "fiftyone", "coco"):
        for name in ("ann", "ben"):
            own = [replace(task, reviewer=f"{tool} {name}") for task in tasks]
            write_tasks({name: own}, tool, f"{s3_bucket.uri}/tasks/{tool}", Storage(), about())
    found = list(read_reviews(Storage(), f"{s3_bucket.uri}/tasks", COCO))
    assert len(found) == 18
    assert len({image.reviewer for image in found}) == 6
    assert sum(len(image.persons) for image in found) == 18


def test_joints_that_people_called_hidden_go_to_every_tool_as_hidden(tasks: list[ReviewTask], tmp_path: Path):
    image = exported(tasks[0], COCO)
    flags = np.full((2, 17), 2, np.int8)
    flags[0, 3], flags[1, 5] = 1, 0
    corrected = replace(image, labels=HumanLabels(flags, image.poses.boxes_xywh))
    shown = {region["id"]: [] for region in regions(corrected, COCO, 0.0)}
    for region in regions(corrected, COCO, 0.0):
        shown[region["id"]].append(region["value"].get("choices", region["type"]))
    assert shown["person-0-left_ear"] == ["keypointlabels", ["hidden"]]
    assert shown["person-0-nose"] == ["keypointlabels"]
    assert "person-1-left_shoulder" not in shown
    assert [person["visible"] for person in keypoints(corrected)] == flags.tolist()
    assert [one["keypoints"][2::3] for one in people(corrected, 1, corrected.shown(0.0))] == flags.tolist()


def test_names_that_xml_cannot_hold_are_left_out_of_cvats_files_and_counted(
    tasks: list[ReviewTask], tmp_path: Path
):
    odd = [*tasks, replace(tasks[1], image_key="bell\a.jpg")]
    summary = written(odd, "cvat", tmp_path)
    assert summary.shares == {"ann": 3}
    assert sum(summary.left_out.values()) == 1
    assert "left out: 1 images" in "\n".join(summary.lines())
    assert len(back(Path(summary.files[-1]))) == 3


def test_label_studio_shows_the_reason_and_takes_every_region(tasks: list[ReviewTask], tmp_path: Path):
    config, path = map(
        Path, written(tasks, "label-studio", tmp_path, image_root="https://x.example/set").files
    )
    assert '<Header value="$reason"/>' in config.read_text()
    content = strict_json(path.read_bytes())
    persons = read_label_studio(content, config.read_text())
    assert [len(found) for found in persons] == [2, 0, 1]
    assert len(persons[2][0]["joints"]) == 15
    assert content[0]["data"]["reason"] == "scores near the floor"
    assert content[2]["data"]["image"] == "https://x.example/set/c.jpg"


def test_fiftyones_samples_carry_the_joints_names(tasks: list[ReviewTask], tmp_path: Path):
    skeleton, path = map(Path, written(tasks, "fiftyone", tmp_path).files)
    assert strict_json(skeleton.read_bytes())["labels"] == list(COCO.joints)
    samples = [read_fiftyone_sample(line) for line in path.read_text().splitlines()]
    (person,) = samples[2]["poses"]["keypoints"]
    assert person["joints"] == list(COCO.joints)
    assert [joint for joint, flag in enumerate(person["visible"]) if flag == 0] == [2, 4]


@pytest.mark.parametrize("tool", ["label-studio", "fiftyone"])
def test_images_in_shards_need_an_address_that_the_tool_can_open(
    tool: Tool, tasks: list[ReviewTask], tmp_path: Path
):
    inside = [replace(task, uri=f"s3://bucket/a.tar#{n}") for n, task in enumerate(tasks)]
    with pytest.raises(ConfigurationError, match="name the folder by --image-root"):
        written(inside, tool, tmp_path)
    written(inside, tool, tmp_path, image_root="/unpacked")


def test_without_reviewers_there_is_one_file_and_the_files_name_is_the_reviewers(
    tasks: list[ReviewTask], tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    summary = write_tasks({None: tasks}, "coco", str(tmp_path), Storage(), about())
    assert summary.files == (f"{tmp_path}/tasks.zip",)
    with caplog.at_level(logging.WARNING):
        assert {image.reviewer for image in read_reviews(Storage(), summary.files[0], COCO)} == {"tasks"}
        named = read_reviews(Storage(), summary.files[0], COCO, reviewer="dora")
        assert {image.reviewer for image in named} == {"dora"}
    assert not caplog.records


def test_by_default_every_joint_in_the_frame_is_shown(tasks: list[ReviewTask], tmp_path: Path):
    wide = TaskFile(COCO, "tiny", -math.inf, None)
    summary = write_tasks({None: tasks}, "cvat", str(tmp_path), Storage(), wide)
    (person,) = back(Path(summary.files[-1]))["c.jpg"].persons
    assert np.flatnonzero(person.visibility == 0).tolist() == [2]
