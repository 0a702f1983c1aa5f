"""Every tool's own importer reads the tasks for it; what its own writer makes of them is read here.

The tools are installed by uv where they can be had; a test without its tool says so and is skipped.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.images import encode, gradient
from support.importers import read_by

from pipeline.review.formats.answer_files import Tool
from pipeline.review.formats.pre_labels import TaskFile
from pipeline.review.labels import PreLabel, ReviewedImage, ReviewTask
from pipeline.review.read_reviews import read_reviews
from pipeline.review.write_tasks import write_tasks
from pipeline.storage import Storage
from posrefine.skeletons import COCO

pytestmark = pytest.mark.slow

DATUMARO, LABEL_STUDIO, FIFTYONE = "datumaro==1.13.12", "label-studio-sdk==2.1.2", "fiftyone==1.22.1"


@pytest.fixture(scope="module")
def tasks() -> list[ReviewTask]:
    """Three images with two, one and no persons, whose fourth joint is below the wanted score."""
    rng = np.random.default_rng(5)

    def person(number: int) -> PreLabel:
        points = rng.uniform((5, 5), (635, 475), (17, 2)).astype(np.float32)
        scores = rng.uniform(0.3, 1, 17).astype(np.float32)
        scores[3] = 0.01
        return PreLabel(number, points, scores, 0.75)

    names = ("a.jpg", "b c.jpg", "d.jpg")
    persons = ((person(0), person(2)), (person(0),), ())
    return [
        ReviewTask(name, f"{n:064x}", f"/photos/{name}", 640, 480, "by chance", found, "ann")
        for n, (name, found) in enumerate(zip(names, persons, strict=True))
    ]


def files_for(tool: Tool, tasks: list[ReviewTask], folder: Path) -> list[Path]:
    about = TaskFile(COCO, "tiny 00ab", 0.1, None)
    return list(map(Path, write_tasks({"ann": tasks}, tool, str(folder), Storage(), about).files))


def require_untouched(found: list[ReviewedImage], tasks: list[ReviewTask]) -> None:
    assert sorted(str(image.image_key or image.sha256) for image in found)
    by_hash = {image.sha256: image for image in found if image.sha256}
    by_key = {image.image_key: image for image in found}
    for task in tasks:
        image = by_hash.get(task.sha256) or by_key[task.image_key]
        assert len(image.persons) == len(task.persons)
        for person in task.persons:
            (same,) = (
                one
                for one in image.persons
                if np.allclose(np.delete(one.keypoints - person.keypoints, 3, axis=0), 0, atol=0.01)
            )
            assert same.visibility.tolist() == [2, 2, 2, 0, *[2] * 13]
            assert same.person == person.person


def test_datumaro_reads_cvats_xml_joint_by_joint(tasks: list[ReviewTask], tmp_path: Path):
    """Datumaro has no skeletons; it finds each joint with its name, and the tag of the image."""
    _, archive = files_for("cvat", tasks, tmp_path / "out")
    folder = tmp_path / "set"
    zipfile.ZipFile(archive).extractall(folder)
    (folder / "images").mkdir()
    for task in tasks:
        (folder / "images" / task.image_key).write_bytes(encode(gradient(640, 480)))
    found = read_by("datumaro_cvat", DATUMARO, folder)
    assert found["labels"] == ["person", *COCO.joints, "image"]
    for task in tasks:
        image = found["images"][task.image_key.removesuffix(".jpg")]
        wanted = [
            (name, *point)
            for person in task.persons
            for name, point in zip(COCO.joints, person.keypoints.tolist(), strict=True)
        ]
        assert [name for name, *_ in image["points"]] == [name for name, *_ in wanted]
        np.testing.assert_allclose(
            [point[1:] for point in image["points"]], [point[1:] for point in wanted], atol=0.006
        )
        (tag,) = image["tags"]
        assert (tag["label"], tag["sha256"], tag["reviewer"]) == ("image", task.sha256, "ann")


def test_datumaro_reads_cocos_form_as_cvat_does_and_what_it_writes_of_it_comes_back(
    tasks: list[ReviewTask], tmp_path: Path
):
    (archive,) = files_for("coco", tasks, tmp_path / "out")
    folder = tmp_path / "set"
    zipfile.ZipFile(archive).extractall(folder)
    (folder / "images" / "default").mkdir(parents=True)
    found = read_by("datumaro_coco", DATUMARO, folder)
    assert found["joints"] == list(COCO.joints)
    assert [len(found["images"][task.image_key.removesuffix(".jpg")]) for task in tasks] == [2, 1, 0]
    (tmp_path / "again.json").write_text(json.dumps(read_by("datumaro_coco_again", DATUMARO, folder)))
    require_untouched(list(read_reviews(Storage(), str(tmp_path / "again.json"), COCO)), tasks)


def test_label_studios_sdk_accepts_every_task_and_what_is_submitted_comes_back(
    tasks: list[ReviewTask], tmp_path: Path
):
    web = [replace(task, uri=f"https://images.example/{task.image_key}") for task in tasks]
    config, path = files_for("label-studio", web, tmp_path)
    found = read_by("label_studio_tasks", LABEL_STUDIO, config, path)
    assert found == {"tasks": len(tasks), "faults": [], "joints": list(COCO.joints)}
    answers = json.loads(path.read_text())
    hidden = 0
    for task in answers:
        regions = task["predictions"][0]["result"]
        for region in [one for one in regions if one["id"].endswith("-nose")]:
            value = {**region["value"], "choices": ["hidden"]}
            regions.append(region | {"type": "choices", "from_name": "visibility", "value": value})
            hidden += 1
    # Of the SDK's opinion about what a reviewer adds, too.
    path.write_text(json.dumps(answers))
    assert read_by("label_studio_tasks", LABEL_STUDIO, config, path)["faults"] == []
    for task in answers:
        task["annotations"] = [{"id": 1, "completed_by": 1, "result": task["predictions"][0]["result"]}]
    path.write_text(json.dumps(answers))
    back = list(read_reviews(Storage(), str(path), COCO))
    assert sum(int(person.visibility[0] == 1) for image in back for person in image.persons) == hidden == 3


def test_fiftyone_makes_samples_and_what_it_writes_of_them_comes_back(
    tasks: list[ReviewTask], tmp_path: Path
):
    _, path = files_for("fiftyone", tasks, tmp_path)
    again = read_by("fiftyone_again", FIFTYONE, path)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "samples.jsonl").write_text("\n".join(again))
    require_untouched(list(read_reviews(Storage(), str(tmp_path / "again"), COCO)), tasks)
