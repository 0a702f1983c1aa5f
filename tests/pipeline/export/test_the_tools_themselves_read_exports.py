"""Every export is read by the very importer of the tool that it is for, and gives the run's persons.

The tools are installed by uv where they can be had; a test without its tool says so and is skipped.
"""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.importers import read_beside_our_torch, read_by
from support.runs import made_up_set, noisy_predictions, write_run

from pipeline.export import ExportOptions, export_run
from pipeline.output.schema import ImageResult
from pipeline.storage import Storage
from posrefine.poses import Poses
from posrefine.score_floor import SCORE_FLOOR
from posrefine.skeletons import COCO

pytestmark = pytest.mark.slow

ODD_KEY = "100%41 a#b\\c.jpg"
"""A percent sign that reads like an escape, a fragment's sign and a backslash: all legal in a file's name."""


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[ImageResult]:
    folder = tmp_path_factory.mktemp("set") / "images"
    rows = noisy_predictions(made_up_set(folder, images=6), folder)
    Path(rows[0].uri).rename(folder / ODD_KEY)
    rows[0] = replace(rows[0], image_key=ODD_KEY, uri=str(folder / ODD_KEY))
    return rows


@pytest.fixture(scope="module")
def run(images: list[ImageResult], tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_run(tmp_path_factory.mktemp("run"), [images])


def counted(image: ImageResult) -> Poses:
    assert image.poses is not None
    return image.poses.filter(min_score=SCORE_FLOOR)


def test_datumaro_reads_the_ground_truth_form_as_cvat_does(
    run: str, images: list[ImageResult], tmp_path: Path
):
    summary = export_run(run, "coco", str(tmp_path), Storage())
    zipfile.ZipFile(summary.files[0]).extractall(tmp_path / "set")
    (tmp_path / "set" / "images" / "default").mkdir(parents=True)
    found = read_by("datumaro_coco", "datumaro==1.13.12", tmp_path / "set")
    assert found["joints"] == list(COCO.joints)
    # Datumaro keeps the file's own counting from 1.
    assert {tuple(sorted(limb)) for limb in found["limbs"]} == {
        tuple(sorted((a + 1, b + 1))) for a, b in COCO.limbs
    }
    for image in images:
        # Datumaro itself makes slashes of backslashes.
        persons = found["images"][image.image_key.removesuffix(".jpg").replace("\\", "/")]
        assert len(persons) == len(counted(image))
        # Datumaro has an order of its own.
        persons.sort(key=lambda person: person["points"][0])
        expected = sorted(counted(image).keypoints.tolist(), key=lambda points: points[0][0])
        for person, points in zip(persons, expected, strict=True):
            np.testing.assert_allclose(np.reshape(person["points"], (-1, 2)), points, atol=0.006)
            assert set(person["visibility"]) == {2}


def test_ultralytics_finds_images_and_labels_from_whatever_folder_it_is_started_in(
    run: str, images: list[ImageResult], tmp_path: Path
):
    (description,) = export_run(run, "yolo", str(tmp_path / "yolo"), Storage()).files
    (tmp_path / "yolo" / "images").mkdir()
    for image in images:
        (tmp_path / "yolo" / "images" / image.image_key).write_bytes(Path(image.uri).read_bytes())
    vision = f"torchvision==0.{int(torch.__version__.split('.')[1]) + 15}.*"
    found = read_beside_our_torch(
        "ultralytics_dataset", ["ultralytics==8.4.190", vision], tmp_path / "packages", Path(description)
    )
    assert (found["root"], found["kpt_shape"]) == (str(tmp_path / "yolo"), [17, 3])
    assert set(found["images"]) == {image.image_key for image in images}
    for image in images:
        size = np.array([image.width, image.height])
        shares = counted(image).keypoints / size
        inside = ((shares >= 0) & (shares <= 1)).all(axis=2)
        labels = np.reshape(found["images"][image.image_key]["keypoints"], (-1, 17, 3))
        assert len(labels) == inside.any(axis=1).sum()
        np.testing.assert_allclose(labels[inside][:, :2], shares[inside], atol=1e-5)


def test_label_studios_sdk_accepts_every_task_and_can_export_the_joints_in_order(
    run: str, images: list[ImageResult], tmp_path: Path
):
    options = ExportOptions(image_root="https://images.example/a set")
    config, tasks = export_run(run, "label-studio", str(tmp_path), Storage(), options).files
    found = read_by("label_studio_tasks", "label-studio-sdk==2.1.2", Path(config), Path(tasks))
    assert found == {"tasks": len(images), "faults": [], "joints": list(COCO.joints)}


def test_fiftyone_makes_samples_of_every_line(run: str, images: list[ImageResult], tmp_path: Path):
    files = export_run(run, "fiftyone", str(tmp_path), Storage()).files
    found = read_by("fiftyone_samples", "fiftyone==1.22.1", *map(Path, files))
    assert found["joints"] == list(COCO.joints)
    for image in images:
        persons = found["images"][image.uri]
        assert len(persons) == len(counted(image))
        for person, points in zip(persons, counted(image).keypoints, strict=True):
            shares = points / (image.width, image.height)
            np.testing.assert_allclose(person["points"], shares, atol=1e-6)
