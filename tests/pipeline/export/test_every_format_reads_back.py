"""Every export, read back by the rules of the tool that it is for, gives the run's persons."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools import coco as pycoco
from pycocotools.cocoeval import COCOeval
from support.annotated import write_json
from support.images import encode, gradient
from support.other_tools import read_fiftyone_sample, read_label_studio, read_yolo_labels, strict_json
from support.runs import UNTRAINED, metadata_of, usable, write_run
from support.s3 import Bucket
from support.scored import score

from pipeline.export import EXPORT_FORMATS, ExportOptions, export_run
from pipeline.output.schema import ImageResult
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, ImageStatus
from posrefine.poses import Poses
from posrefine.score_floor import SCORE_FLOOR
from posrefine.skeletons import COCO

JOINTS = COCO.num_joints


def persons_in(images: list[ImageResult]) -> int:
    return sum(len(poses) for _, poses in usable(images))


def counted(images: list[ImageResult]) -> list[tuple[ImageResult, Poses]]:
    """With the persons that the run counts."""
    return [(image, poses.filter(min_score=SCORE_FLOOR)) for image, poses in usable(images)]


def silent_coco(path: str | None = None) -> pycoco.COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return pycoco.COCO(path)


def test_results_give_pycocotools_the_numbers_of_our_own_evaluation(
    run: str, images: list[ImageResult], truth: tuple[Path, dict[str, Any]], tmp_path: Path
):
    summary = export_run(run, "coco-results", str(tmp_path), Storage())
    assert (summary.images, summary.persons) == (9, persons_in(images))
    assert summary.skipped == {"failed: corrupt": 1}
    (path,) = summary.files
    entries = strict_json(Path(path).read_bytes())
    assert all(set(e) == {"image_id", "category_id", "keypoints", "score"} for e in entries)
    annotations = write_json(tmp_path / "truth.json", truth[1])
    with contextlib.redirect_stdout(io.StringIO()):
        reference = pycoco.COCO(annotations)
        scored = COCOeval(reference, reference.loadRes(path), "keypoints")
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    ours = score(run, annotations, diagnosis=False).evaluation
    assert [getattr(ours, name) for name in ("AP", "AP50", "AP75", "APm", "APl", "AR")] == pytest.approx(
        scored.stats[:6].tolist(), abs=0
    )


def test_the_ground_truth_form_opens_in_pycocotools_with_joints_limbs_and_areas(
    run: str, images: list[ImageResult], tmp_path: Path
):
    summary = export_run(run, "coco", str(tmp_path), Storage(), ExportOptions(min_keypoint_score=0.3))
    with zipfile.ZipFile(summary.files[0]) as archive:
        assert archive.namelist() == ["annotations/person_keypoints_default.json"]
        archive.extractall(tmp_path / "unpacked")
    path = tmp_path / "unpacked" / "annotations" / "person_keypoints_default.json"
    strict_json(path.read_bytes())
    coco = silent_coco(str(path))
    (category,) = coco.loadCats(coco.getCatIds())
    assert category["keypoints"] == list(COCO.joints)
    assert [(a - 1, b - 1) for a, b in category["skeleton"]] == list(COCO.limbs)
    assert len(coco.getImgIds()) == 9
    for image, poses in counted(images):
        (record,) = coco.loadImgs([image.image_id])
        assert (record["file_name"], record["width"]) == (image.image_key, image.width)
        found = coco.loadAnns(coco.getAnnIds(imgIds=[image.image_id]))
        assert len(found) == len(poses)
        for person, annotation in enumerate(found):
            flags = np.array(annotation["keypoints"]).reshape(-1, 3)
            shown = poses.keypoint_scores[person] >= 0.3
            np.testing.assert_array_equal(flags[:, 2], np.where(shown, 2, 0))
            np.testing.assert_allclose(flags[shown, :2], poses.keypoints[person][shown], atol=0.006)
            assert not flags[~shown].any()
            assert annotation["num_keypoints"] == shown.sum()
            assert annotation["area"] > 0
            assert annotation["attributes"]["score"] == pytest.approx(float(poses.scores[person]), abs=1e-4)


def test_images_without_ids_are_numbered_in_the_ground_truth_form_and_refused_in_results(
    images: list[ImageResult], tmp_path: Path
):
    nameless = [replace(image, image_id=None) for image in images]
    run = write_run(tmp_path / "run", [nameless])
    summary = export_run(run, "coco", str(tmp_path / "out"), Storage())
    with zipfile.ZipFile(summary.files[0]) as archive:
        content = json.loads(archive.read(archive.namelist()[0]))
    assert [image["id"] for image in content["images"]] == list(range(1, 10))
    with pytest.raises(ConfigurationError, match="9 images have no id"):
        export_run(run, "coco-results", str(tmp_path / "out"), Storage())
    twins = [replace(image, image_id=7) for image in images]
    run = write_run(tmp_path / "twins", [twins])
    with pytest.raises(ConfigurationError, match="stand for several images, as 7"):
        export_run(run, "coco-results", str(tmp_path / "out"), Storage())


def test_yolo_labels_pass_the_trainers_checks_and_are_where_the_joints_are(
    run: str, images: list[ImageResult], tmp_path: Path
):
    summary = export_run(run, "yolo", str(tmp_path), Storage())
    description = yaml.safe_load(Path(summary.files[0]).read_text())
    assert description["kpt_shape"] == [JOINTS, 3]
    assert description["flip_idx"] == list(COCO.flip_order)
    assert description["names"] == {0: "person"}
    assert "path" not in description  # then it is the folder of data.yaml, wherever that was copied to
    files = sorted((tmp_path / "labels").iterdir())
    assert [file.stem for file in files] == [image.image_key[:-4] for image, _ in counted(images)]
    for (image, poses), file in zip(counted(images), files, strict=True):
        labels = read_yolo_labels(file, JOINTS)
        size = np.array([image.width, image.height])
        points = poses.keypoints / size
        inside = ((points >= 0) & (points <= 1)).all(axis=2)
        visible = inside.any(axis=1)
        assert len(labels) == visible.sum()
        found = labels[:, 5:].reshape(-1, JOINTS, 3)
        np.testing.assert_array_equal(found[..., 2] == 2, inside[visible])
        np.testing.assert_allclose(found[inside[visible]][:, :2], points[visible][inside[visible]], atol=1e-6)
        assert not found[~inside[visible]].any()


def test_label_studio_takes_every_region_and_joints_belong_to_their_person(
    run: str, images: list[ImageResult], tmp_path: Path
):
    options = ExportOptions(image_root="https://images.example/set")
    summary = export_run(run, "label-studio", str(tmp_path), Storage(), options)
    config, *files = summary.files
    tasks = [task for file in files for task in strict_json(Path(file).read_bytes())]
    persons_by_task = read_label_studio(tasks, Path(config).read_text())
    assert tasks[0]["data"]["image"] == f"https://images.example/set/{images[0].image_key}"
    for (image, poses), persons in zip(counted(images), persons_by_task, strict=True):
        assert len(persons) == len(poses)
        frame = np.array([image.width, image.height])
        for index, person in enumerate(persons):
            assert person["score"] == pytest.approx(float(poses.scores[index]), abs=1e-4)
            points = poses.keypoints[index]
            inside = ((points >= 0) & (points <= frame)).all(axis=1)
            assert set(person["joints"]) == {COCO.joints[joint] for joint in np.flatnonzero(inside)}
            for joint in np.flatnonzero(inside):
                np.testing.assert_allclose(person["joints"][COCO.joints[joint]], points[joint], atol=0.01)


def test_fiftyone_samples_keep_every_joints_score(run: str, images: list[ImageResult], tmp_path: Path):
    summary = export_run(run, "fiftyone", str(tmp_path), Storage())
    samples, skeleton = (Path(file) for file in summary.files)
    about = strict_json(skeleton.read_bytes())
    assert (about["labels"], len(about["edges"])) == (list(COCO.joints), len(COCO.limbs))
    lines = samples.read_text().splitlines()
    for (image, poses), line in zip(counted(images), lines, strict=True):
        sample = read_fiftyone_sample(line)
        assert Path(sample["filepath"]).is_file()
        keypoints = sample["poses"]["keypoints"]
        assert len(keypoints) == len(poses)
        for person, keypoint in enumerate(keypoints):
            points = np.array(keypoint["points"]) * (image.width, image.height)
            np.testing.assert_allclose(points, poses.keypoints[person], atol=0.01)
            np.testing.assert_allclose(keypoint["confidence"], poses.keypoint_scores[person], atol=1e-4)


def test_overlays_are_the_images_with_something_drawn_where_there_are_persons(
    run: str, images: list[ImageResult], truth: tuple[Path, dict[str, Any]], tmp_path: Path
):
    gone = truth[0] / "images" / images[5].image_key
    data = gone.read_bytes()
    gone.unlink()
    try:
        summary = export_run(run, "overlays", str(tmp_path / "out"), Storage())
    finally:
        gone.write_bytes(data)
    assert summary.skipped == {"failed: corrupt": 1, "the image is gone": 1}
    assert summary.images == len(list((tmp_path / "out").iterdir())) == 8
    empty, peopled = images[2], images[3]
    for image, drawn in ((empty, False), (peopled, True)):
        before = np.asarray(Image.open(image.uri).convert("RGB"), int)
        after = np.asarray(Image.open(tmp_path / "out" / image.image_key).convert("RGB"), int)
        assert after.shape == before.shape
        assert (np.abs(after - before).max() > 100) == drawn


@pytest.mark.parametrize("export_format", sorted(EXPORT_FORMATS))
def test_exports_go_to_a_bucket_from_a_bucket(export_format: str, s3_bucket: Bucket):
    uri = s3_bucket.write("in/1.jpg", encode(gradient(64, 48)))
    points = np.random.default_rng(0).uniform(5, 40, (1, JOINTS, 2)).astype(np.float32)
    poses = Poses(points, np.ones((1, JOINTS), np.float32), np.ones(1, np.float32), points[..., 0] * np.nan)
    row = ImageResult("1.jpg", 1, uri, 64, 48, 1, None, ImageStatus.OK, None, poses)
    run = write_run(f"{s3_bucket.uri}/run", [[row]])
    summary = export_run(run, export_format, f"{s3_bucket.uri}/out", Storage())
    assert (summary.images, summary.persons, summary.skipped) == (1, 1, {})
    assert any(key.startswith("out/") for key in list(s3_bucket.keys()))


def test_an_export_of_an_untrained_networks_poses_says_that_they_mean_nothing(
    images: list[ImageResult], tmp_path: Path
):
    run = write_run(tmp_path / "run", [images], metadata_of(note=UNTRAINED))
    summary = export_run(run, "coco", str(tmp_path / "out"), Storage())
    assert f"note: {UNTRAINED}" in list(summary.lines())
    with zipfile.ZipFile(summary.files[0]) as archive:
        content = json.loads(archive.read(archive.namelist()[0]))
    assert UNTRAINED in content["info"]["description"]
