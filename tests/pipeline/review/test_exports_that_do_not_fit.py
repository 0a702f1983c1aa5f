"""What tools damage, and what does not fit, is refused with its place; nothing of it becomes a label."""

from __future__ import annotations

import json
import logging
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.changed_exports import KEY, WHOLE, cvat, images, of_json, read, refused
from support.labelling_tools import (
    Labelled,
    LabelledImage,
    coco_content,
    cvat_xml,
    fiftyone_samples,
    label_studio_tasks,
)

from posrefine.skeletons import COCO


def label_studio(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    (task,) = label_studio_tasks(images(), "ann", random.Random(0))
    change(task)
    return of_json(folder, [task])


def fiftyone(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    (sample,) = fiftyone_samples(images(), "ann", random.Random(0))
    change(sample["poses"]["keypoints"][0])
    return of_json(folder, sample)


def coco(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    content = coco_content(images(), "ann", random.Random(0))
    change(content)
    return of_json(folder, content)


def joint_regions(task: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (one for one in task["annotations"][0]["result"] if one["type"] == "keypointlabels")


NOSE = re.compile(r'<points label="nose"[^>]*></points>')


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x.replace('label="nose"', 'label="tail"'), ["joint 'tail'", "unknown", "left_eye"]),
        (lambda x: NOSE.sub("", x), ["16 of 17 joints", "nose"]),
        (lambda x: NOSE.sub(lambda m: m[0] * 2, x), ["nose", "twice"]),
        (lambda x: x.replace("30.50,40.25", "nan,40.25"), ["joint nose", "x is 'nan'"]),
        (lambda x: x.replace("30.50,40.25", "30.50"), ["joint nose", "y is ''"]),
        (lambda x: x.replace("30.50,40.25", "30.50,40.25;1,2"), ["joint nose", "2 points"]),
        (lambda x: x.replace("30.50,40.25", "30.50,4025"), ["30.5, 4025", "640 x 480"]),
        (lambda x: x.replace('occluded="1"', 'occluded="2"'), ["occluded is '2'", "0 or 1"]),
        (lambda x: re.sub(' outside="."', "", x), ["outside is None"]),
        (lambda x: x.replace('<skeleton label="person"', '<skeleton label="hand"'), ["<skeleton> hand"]),
        (lambda x: x.replace("skeleton", "group"), ["not one has a person"]),
        (lambda x: re.sub("</?skeleton[^>]*>", "", x), ["belongs to no skeleton"]),
        (lambda x: x.replace('width="640"', 'width="0"'), [KEY, "width is '0'"]),
        (
            lambda x: x.replace('<attribute name="person">0', '<attribute name="person">me'),
            ["number is 'me'"],
        ),
        (lambda x: x.replace("abab", "xyxy", 1), ["sha256", "64 hexadecimal"]),
        (lambda x: x[: len(x) // 2], ["no XML"]),
        (lambda x: x.replace("<image ", '<track id="1"></track><image '), ["tracks", "CVAT for images 1.1"]),
        (lambda x: x.replace("annotations>", "annotation>"), ["<annotation>", "no export of CVAT"]),
    ],
)
def test_cvats_xml_must_fit(change: Callable[[str], str], words: list[str], tmp_path: Path):
    path = cvat(tmp_path, change)
    assert path.read_text() != cvat_xml(images(), "ann", random.Random(0))
    refused(path, *words)


def set_region(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda task: next(joint_regions(task)).update(values)


def set_value(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda task: next(joint_regions(task))["value"].update(values)


def give_another_joint_the_same_name(task: dict[str, Any]) -> None:
    first, second = list(joint_regions(task))[:2]
    second["value"]["keypointlabels"] = first["value"]["keypointlabels"]


def take_parents_away(task: dict[str, Any]) -> None:
    """And draw a second person around the first."""
    for region in joint_regions(task):
        del region["parentID"]
    regions = task["annotations"][0]["result"]
    (person,) = (one for one in regions if one["type"] == "rectanglelabels")
    regions.append(person | {"id": "another"})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_value(keypointlabels=["tail"]), ["joint 'tail'", "unknown"]),
        (set_value(keypointlabels=["nose", "left_eye"]), ["keypointlabels are"]),
        (give_another_joint_the_same_name, ["twice"]),
        (set_value(x=None), ["x is None", "per cent"]),
        (set_value(y=float("nan")), ["y is nan"]),
        (set_value(x=900.0), ["far outside"]),
        (set_region(parentID="nobody"), ["'nobody'", "no person"]),
        (take_parents_away, ["rectangles of 2", "drag it"]),
        (set_region(original_width=1280), ["1280 x 480", "640 x 480"]),
        (set_region(image_rotation=90), ["90 degrees"]),
        (set_region(type="keypoint"), ["without a label"]),
        (lambda task: task.pop("annotations"), ["task 0", "export as JSON", "JSON-MIN"]),
        (lambda task: task.pop("data"), ["task 0", "data is None"]),
        (lambda task: task["data"].update(sha256="", image_key=""), ["neither sha256 nor image_key"]),
    ],
)
def test_label_studios_json_must_fit(
    change: Callable[[dict[str, Any]], None], words: list[str], tmp_path: Path
):
    refused(label_studio(tmp_path, change), *words)


def test_a_hidden_joint_of_label_studio_is_hidden_and_other_choices_are_refused(tmp_path: Path):
    def choose(what: str) -> Callable[[dict[str, Any]], None]:
        def change(task: dict[str, Any]) -> None:
            for region in task["annotations"][0]["result"]:
                if region["type"] == "choices":
                    region["value"]["choices"] = [what]

        return change

    for what, flag in (("hidden", 1), ("visible", 2)):
        (image,) = read(label_studio(tmp_path, choose(what)))
        assert image.persons[0].visibility[0] == flag
    refused(label_studio(tmp_path, choose("perhaps")), "visibility is 'perhaps'", "visible or hidden")


def set_points(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda keypoint: keypoint.update(values)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_points(points=[[0.5, 0.5]] * 16), ["16 points", "wanted 17"]),
        (set_points(points=[[0.5, 0.5]] * 17), ["visible is 0", "do not belong together"]),
        (set_points(visible=[2] * 16), ["16 flags"]),
        (set_points(visible=[3] * 17), ["visibility is 3"]),
        (set_points(joints=["tail", *COCO.joints[1:]]), ["another skeleton", "'tail'", "nose"]),
        (set_points(joints=[COCO.joints[1], *COCO.joints[1:]]), ["repeat"]),
        (set_points(points=[[0.5, "a"]] * 17), ["wanted shares of the frame"]),
        (lambda keypoint: keypoint.pop("joints"), ["have no names", "skeleton.json"]),
    ],
)
def test_fiftyones_samples_must_fit(
    change: Callable[[dict[str, Any]], None], words: list[str], tmp_path: Path
):
    refused(fiftyone(tmp_path, change), *words)


def flat(content: dict[str, Any]) -> list[Any]:
    (person,) = content["annotations"]
    found: list[Any] = person["keypoints"]
    return found


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: flat(c).pop(), ["50 numbers", "wanted 51"]),
        (lambda c: flat(c).__setitem__(2, 7), ["visibility is 7"]),
        (lambda c: flat(c).__setitem__(2, True), ["visibility is True"]),
        (lambda c: flat(c).__setitem__(slice(0, 3), [float("nan"), 1, 2]), ["x is nan"]),
        (lambda c: c["categories"][0]["keypoints"].__setitem__(0, "tail"), ["another skeleton", "'tail'"]),
        (lambda c: c["categories"][0].pop("keypoints"), ["no category has keypoints"]),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, -3, 4]), ["its box is 1, 2, -3, 4", "px of left"]),
        (lambda c: c["annotations"][0].update(bbox=[1, 2, 1e39, 4]), ["its box is 1, 2, 1e+39, 4"]),
        (lambda c: c["annotations"][0].update(bbox=[float("nan"), 2, 3, 4]), ["its box is nan"]),
        (lambda c: c["annotations"][0].update(image_id=99), ["image_id is 99"]),
        (lambda c: c["annotations"][0].update(category_id=99), ["category_id is 99"]),
        (lambda c: c["annotations"][0]["attributes"].update(sha256="cd" * 32), ["several images", "empty"]),
        (lambda c: c["images"].append(c["images"][0]), ["id 7", "twice"]),
        (lambda c: c["images"][0].pop("width"), ["width is None"]),
    ],
)
def test_cocos_json_must_fit(change: Callable[[dict[str, Any]], None], words: list[str], tmp_path: Path):
    refused(coco(tmp_path, change), *words)


FAR_AWAY = WHOLE | {"nose": (9999.0, 40.25, 2)}
MANY = [
    LabelledImage("a.jpg", "ab" * 32, 640, 480, (Labelled(WHOLE, 0), Labelled(WHOLE, 1))),
    LabelledImage(
        "b.jpg", "cd" * 32, 640, 480, (Labelled(WHOLE, 0), Labelled(FAR_AWAY, 2), Labelled(WHOLE, 3))
    ),
    LabelledImage("c.jpg", "ef" * 32, 640, 480, (Labelled(WHOLE, 0),)),
]


def place_in_cvats_xml(path: Path) -> str:
    lines = path.read_text().splitlines()
    (joint,) = (number for number, line in enumerate(lines) if "9999" in line)
    image, person = (
        max(number for number, line in enumerate(lines[:joint], start=1) if line.startswith(element))
        for element in ("<image ", "<skeleton ")
    )
    return f"line {image}, image b.jpg, line {person}, <skeleton> person, joint nose"


def place_in_cocos_json(path: Path) -> str:
    (person,) = (
        one for one in json.loads(path.read_text())["annotations"] if one["attributes"]["person"] == 2
    )
    return f"image 8, b.jpg, annotation {person['id']}, joint nose"


@pytest.mark.parametrize(
    ("write", "place"),
    [
        (lambda chance: cvat_xml(MANY, "ann", chance), place_in_cvats_xml),
        (
            lambda chance: json.dumps(label_studio_tasks(MANY, "ann", chance)),
            lambda _: "task 1, image b.jpg, annotation 5, region person-2, joint nose",
        ),
        (
            lambda chance: json.dumps({"samples": fiftyone_samples(MANY, "ann", chance)}),
            lambda _: "sample 2, image b.jpg, person 1, joint nose",
        ),
        (lambda chance: json.dumps(coco_content(MANY, "ann", chance)), place_in_cocos_json),
    ],
    ids=["cvat", "label-studio", "fiftyone", "coco"],
)
def test_of_many_images_and_persons_the_one_that_does_not_fit_is_named_down_to_the_joint(
    write: Callable[[random.Random], str], place: Callable[[Path], str], tmp_path: Path
):
    for seed in range(3):
        text = write(random.Random(seed))
        path = tmp_path / f"{seed}.{'xml' if text.startswith('<') else 'json'}"
        path.write_text(text)
        refused(path, f"{path}: {place(path)}: lies at ", "far outside of the frame of 640 x 480 px")


# What is known of tools.


def test_joints_that_cvat_writes_in_an_order_of_its_own_are_those_of_their_names(tmp_path: Path):
    """CVAT #5048: a category's list of names was not in the order of the skeleton."""
    distinct = {name: (float(n + 1), float(2 * n + 1), 2) for n, name in enumerate(COCO.joints)}
    turned = coco_content(images(Labelled(distinct, 0)), "ann", random.Random(1))
    assert turned["categories"][0]["keypoints"] != list(COCO.joints)
    (image,) = read(of_json(tmp_path, turned))
    np.testing.assert_array_equal(image.persons[0].keypoints[:, 0], np.arange(1, 18))


def test_in_the_export_of_a_cvat_project_every_task_has_its_own_reviewer(tmp_path: Path):
    both = [*images(), LabelledImage("b.jpg", "cd" * 32, 640, 480, (Labelled(WHOLE, 0),))]
    text = cvat_xml(both, "", random.Random(0))
    tasks = "".join(
        f"<task><id>{number}</id><owner><username>boss</username></owner>"
        f"<assignee><username>{name}</username></assignee></task>"
        for number, name in ((4, "ann"), (5, "ben"))
    )
    text = text.replace("<task></task>", f"<project><tasks>{tasks}</tasks></project>")
    path = tmp_path / "project.xml"
    path.write_text(text.replace('id="0"', 'id="0" task_id="4"').replace('id="1"', 'id="1" task_id="5"'))
    assert [image.reviewer for image in read(path)] == ["ann", "ben"]
    path.write_text(text)
    assert [image.reviewer for image in read(path)] == ["project", "project"]


def test_the_box_of_a_rectangle_that_was_turned_in_label_studio_is_around_it(tmp_path: Path):
    (task,) = label_studio_tasks(images(), "ann", random.Random(0))
    (person,) = (one for one in task["annotations"][0]["result"] if one["type"] == "rectanglelabels")
    person["value"].update(x=50.0, y=50.0, width=10.0, height=20.0, rotation=90.0)
    (image,) = read(of_json(tmp_path, [task]))
    # A right angle with the clock around its left top, at 320, 240: 96 px high becomes 96 px to the left.
    np.testing.assert_allclose(image.persons[0].bbox or (), (320 - 96, 240, 96, 64))


@pytest.mark.parametrize("shown", ["0:1ffff", "none"])
def test_a_file_that_has_lost_everybody_is_refused_unless_nobody_was_there(shown: str, tmp_path: Path):
    """CVAT #5600, #5831 and FiftyOne #7520: exports and imports without anybody, and without an error."""
    nobody = [LabelledImage(KEY, "ab" * 32, 640, 480, (), shown)]
    paths = {
        "a.xml": cvat_xml(nobody, "ann", random.Random(0)),
        "b.json": json.dumps(coco_content(nobody, "ann", random.Random(0))),
        "c.json": json.dumps(label_studio_tasks(nobody, "ann", random.Random(0))),
        "d.json": json.dumps(fiftyone_samples(nobody, "ann", random.Random(0))[0]),
    }
    for name, text in paths.items():
        (tmp_path / name).write_text(text)
        if shown != "none":
            refused(tmp_path / name, "of 1 images not one has a person")
            assert read(tmp_path / name, may_be_empty=True)[0].persons == ()
        else:
            assert read(tmp_path / name)[0].persons == ()


def test_joints_without_labels_that_became_visible_are_refused(tmp_path: Path):
    """CVAT pull request #4821: all points were visible after a round trip."""

    def lose(content: dict[str, Any]) -> None:
        (person,) = content["annotations"]
        person["keypoints"] = [0, 0, 2, 0, 0, 2, *person["keypoints"][6:]]

    refused(coco(tmp_path, lose), "visible at 0, 0", "lost their visibility")


def test_points_that_fiftyone_took_in_another_order_are_refused_by_their_flags(tmp_path: Path):
    """FiftyOne #8233: points came back rotated, the lists beside them did not."""

    def rotate(keypoint: dict[str, Any]) -> None:
        keypoint["points"] = keypoint["points"][1:] + keypoint["points"][:1]

    refused(fiftyone(tmp_path, rotate), "do not belong together")


def test_persons_drawn_in_fiftyone_take_their_joints_from_the_data_sets_skeleton(tmp_path: Path):
    """FiftyOne #2194: keypoints went without skeleton and names."""
    order = list(reversed(COCO.joints))

    def unnamed(keypoint: dict[str, Any]) -> None:
        by_name = dict(zip(keypoint["joints"], keypoint["points"], strict=True))
        keypoint["points"] = [by_name[name] for name in order]
        keypoint["visible"] = None
        del keypoint["joints"], keypoint["person"]

    path = fiftyone(tmp_path, unnamed)
    refused(path, "no names")
    (tmp_path / "metadata.json").write_text(json.dumps({"default_skeleton": {"labels": order, "edges": []}}))
    for place in (path, tmp_path):
        ((person,),) = (image.persons for image in read(place))
        assert person.person is None
        assert person.visibility.tolist() == [0 if name == "left_ear" else 2 for name in COCO.joints]
        np.testing.assert_allclose(person.keypoints[0], (30.5, 40.25))


def test_a_data_set_of_fiftyone_in_one_file_is_read_too(tmp_path: Path):
    samples = fiftyone_samples(images(), "ann", random.Random(0))
    (image,) = read(of_json(tmp_path, {"samples": samples}))
    assert len(image.persons) == 1


def test_where_cvat_has_lost_what_an_image_is_its_file_name_is_taken_for_its_key_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = cvat(tmp_path, lambda text: re.sub("<tag.*</tag>", "", text, flags=re.DOTALL))
    with caplog.at_level(logging.WARNING):
        (image,) = read(path)
    assert (image.image_key, image.sha256, image.reviewer) == (KEY, None, "annotations")
    assert "of 1 images the tool kept neither sha256 nor key" in caplog.text


def test_cocos_images_that_lost_their_hash_have_it_from_their_persons(tmp_path: Path):
    def strip(content: dict[str, Any]) -> None:
        for name in ("sha256", "image_key", "reviewer", "pre_labels"):
            content["images"][0].pop(name)

    (image,) = read(coco(tmp_path, strip))
    assert (image.sha256, image.image_key) == ("ab" * 32, None)


def test_copies_of_a_person_keep_no_number_for_nobody_knows_which_is_the_original(tmp_path: Path):
    twice = images(Labelled(WHOLE, 0), Labelled(WHOLE, 0), Labelled(WHOLE, 1))
    path = of_json(tmp_path, coco_content(twice, "ann", random.Random(0)))
    assert sorted(str(person.person) for person in read(path)[0].persons) == ["1", "None", "None"]


def test_other_things_than_persons_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    car = '<box label="car" xtl="1" ytl="1" xbr="2" ybr="2" occluded="0"></box>'
    with caplog.at_level(logging.WARNING):
        (image,) = read(cvat(tmp_path, lambda text: text.replace("<skeleton", f"{car}<skeleton")))
    assert len(image.persons) == 1
    assert "1 shapes or tags of the label car" in caplog.text


def test_tasks_that_nobody_answered_or_that_were_skipped_are_no_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    done, skipped, open_task = (label_studio_tasks(images(), "ann", random.Random(0))[0] for _ in range(3))
    skipped["annotations"][0]["was_cancelled"] = True
    open_task["annotations"] = []
    with caplog.at_level(logging.WARNING):
        assert len(read(of_json(tmp_path, [skipped, done, open_task]))) == 1
    assert "2 tasks have no answer" in caplog.text


def test_two_people_in_one_label_studio_task_are_kept_apart_and_the_newest_answer_of_each_counts(
    tmp_path: Path,
):
    def three(task: dict[str, Any]) -> None:
        (first,) = task["annotations"]
        older = first | {"id": 1, "result": [], "updated_at": "2026-01-01", "completed_by": {"email": "a@x"}}
        newer = first | {"id": 2, "updated_at": "2026-01-02", "completed_by": {"email": "a@x"}}
        task["annotations"] = [newer, older, first | {"completed_by": 8}]

    found = {image.reviewer: len(image.persons) for image in read(label_studio(tmp_path, three))}
    assert found == {"a@x": 1, "user 8": 1}


def test_the_same_answer_twice_is_one_and_two_answers_of_one_reviewer_are_refused(tmp_path: Path):
    (tmp_path / "a.xml").write_text(cvat_xml(images(), "ann", random.Random(0)))
    (tmp_path / "b.xml").write_text(cvat_xml(images(), "ann", random.Random(1)))
    (tmp_path / "c.xml").write_text(cvat_xml(images(), "ben", random.Random(1)))
    assert sorted(image.reviewer for image in read(tmp_path)) == ["ann", "ben"]
    other = images(Labelled(WHOLE | {"nose": (1.0, 1.0, 2)}, 0))
    (tmp_path / "b.xml").write_text(cvat_xml(other, "ann", random.Random(1)))
    refused(tmp_path, "ann has another answer about this image", "a.xml")
