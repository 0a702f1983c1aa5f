"""What people said of an image is what other tools get: their flags, their boxes, and nothing at 0, 0."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.corrections import corrected, import_into, models_rows
from support.standing import Standing, persons_in, picture

from pipeline.export.run import export_run
from pipeline.export.source import ExportOptions
from pipeline.output.human_import import HumanImage
from pipeline.storage import Storage

SEED = next(seed for seed in range(40) if persons_in(picture(seed)) > 0)


@pytest.fixture
def reviewed(tmp_path: Path) -> tuple[str, HumanImage, int]:
    """An output with one image that somebody corrected, the answer, and persons that the network has."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "0.png").write_bytes(picture(SEED))
    standing = Standing(Storage(), str(tmp_path / "in"), str(tmp_path / "out"))
    standing.sync()
    image = models_rows(standing.output)["0.png"]
    said = corrected(image, 3, 5)
    import_into(standing, [("ann", [said])])
    return standing.output_uri, said, len(image.poses or ())


def test_coco_has_peoples_flags_and_boxes(reviewed: tuple[str, HumanImage, int], tmp_path: Path):
    output, said, persons = reviewed
    for source in ("corrected", "model"):
        options = ExportOptions(min_score=0.0, source=source)  # type: ignore[arg-type]
        export_run(output, "coco", str(tmp_path / source), Storage(), options)
    with zipfile.ZipFile(tmp_path / "corrected" / "coco_keypoints.zip") as archive:
        people = json.loads(archive.read(archive.namelist()[0]))["annotations"]
    joints = np.array([one["keypoints"] for one in people]).reshape(3, 17, 3)
    np.testing.assert_array_equal(joints[..., 2], said.visibility)
    assert not joints[said.visibility == 0].any()
    np.testing.assert_allclose([one["bbox"] for one in people], said.boxes_xywh, atol=6e-3)
    with zipfile.ZipFile(tmp_path / "model" / "coco_keypoints.zip") as archive:
        assert len(json.loads(archive.read(archive.namelist()[0]))["annotations"]) == persons


def test_label_studio_and_yolo_have_no_joint_that_people_did_not_label(
    reviewed: tuple[str, HumanImage, int], tmp_path: Path
):
    output, said, _ = reviewed
    export_run(output, "label-studio", str(tmp_path / "ls"), Storage())
    (task,) = json.loads((tmp_path / "ls" / "tasks-00000.json").read_text())
    points = [one for one in task["predictions"][0]["result"] if one["type"] == "keypointlabels"]
    inside = (said.keypoints >= 0).all(axis=2) & (said.keypoints <= 4).all(axis=2)
    assert len(points) == int((inside & (said.visibility > 0)).sum())
    export_run(output, "yolo", str(tmp_path / "yolo"), Storage())
    lines = (tmp_path / "yolo" / "labels" / "0.txt").read_text().splitlines()
    flags = np.array([line.split()[5:] for line in lines], float).reshape(3, 17, 3)[..., 2]
    np.testing.assert_array_equal(flags, said.visibility * inside)
