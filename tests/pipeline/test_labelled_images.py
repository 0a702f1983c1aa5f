"""Labelled images from folders and tars, broken ones among them."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.s3 import Bucket
from support.shards import make_tar

from pipeline.labelled_images import Frames, LabelledImages
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, ShardError, TrainingError
from posrefine.skeletons import COCO

NAMES = ["a.png", "b.png", "c.png"]


def png(value: int, width: int = 40, height: int = 30) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(file, "PNG")
    return file.getvalue()


def annotations(names: list[str] = NAMES, **changes: Any) -> dict[str, Any]:
    images = [{"id": n, "file_name": name, "width": 40, "height": 30} for n, name in enumerate(names, 1)]
    persons = [
        {"id": n, "image_id": n, "category_id": 1, "bbox": [2, 3, 20, 10], "area": 150.0, "iscrowd": 0,
         "keypoints": [n, 5, 2] * 17, "num_keypoints": 17}
        for n in range(1, len(names) + 1)
    ]  # fmt: skip
    return {"images": images, "annotations": persons, "categories": [{"id": 1, "name": "person"}]} | changes


def write_folder(folder: Path, files: dict[str, bytes], content: dict[str, Any]) -> str:
    for name, data in files.items():
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "labels.json").write_text(json.dumps(content))
    return str(folder / "labels.json")


def open_folder(
    folder: Path, files: dict[str, bytes], content: dict[str, Any], **options: Any
) -> LabelledImages:
    labels = write_folder(folder, files, content)
    return LabelledImages.open(str(folder / "images"), labels, COCO, Storage(), **options)


GOOD = {name: png(10 * number) for number, name in enumerate(NAMES, 1)}


def test_a_folder_and_a_tar_in_a_bucket_hold_the_same_images(tmp_path: Path, s3_bucket: Bucket):
    folder = open_folder(tmp_path, GOOD, annotations())
    s3_bucket.write("data/0.tar", make_tar({"a.png": GOOD["a.png"], "a.json": b"{}"}))
    s3_bucket.write("data/1.tar", make_tar({"deep/c.png": GOOD["c.png"], "deep/b.png": GOOD["b.png"]}))
    tars = LabelledImages.open(f"{s3_bucket.uri}/data", str(tmp_path / "labels.json"), COCO, Storage())
    assert len(folder) == len(tars) == 3
    for position in range(3):
        one, other = folder[position], tars[position]
        np.testing.assert_array_equal(one.pixels, other.pixels)
        np.testing.assert_array_equal(one.keypoints, other.keypoints)
        assert one.pixels[0, 0, 0] == 10 * (position + 1)
        assert one.keypoints[0, 0].tolist() == [position + 1, 5, 2]
        assert one.diagonals_px[0] == pytest.approx(np.hypot(20, 10))


def test_a_broken_image_is_replaced_by_the_next_one_with_a_warning(tmp_path: Path, caplog):
    labelled = open_folder(tmp_path, GOOD | {"b.png": GOOD["b.png"][:-30]}, annotations())
    with caplog.at_level(logging.WARNING):
        assert labelled[1].pixels[0, 0, 0] == 30
    assert "b.png: truncated" in caplog.text


def test_nothing_but_broken_images_stops_training(tmp_path: Path):
    labelled = open_folder(tmp_path, dict.fromkeys(NAMES, b"text"), annotations())
    with pytest.raises(TrainingError, match=r"20 images in a row cannot be used.*unsupported"):
        labelled[0]


def test_a_cut_tar_is_refused_when_it_is_indexed(tmp_path: Path):
    tar = make_tar(GOOD)[:-10240]
    with pytest.raises(ShardError, match="end-of-archive"):
        open_folder(tmp_path, {"0.tar": tar}, annotations())


def test_annotations_without_any_labelled_person_are_refused(tmp_path: Path):
    content = annotations()
    for person in content["annotations"]:
        person |= {"keypoints": [0] * 51, "num_keypoints": 0}
    with pytest.raises(TrainingError, match="no person has labelled keypoints"):
        open_folder(tmp_path, GOOD, content)


def test_annotations_of_other_images_are_refused(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="none of its 3 images is among the 1 annotated ones"):
        open_folder(tmp_path, GOOD, annotations(["z.png"]))


def test_annotations_for_another_image_size_are_refused(tmp_path: Path):
    labelled = open_folder(tmp_path, {"a.png": png(1, 30, 40)}, annotations(["a.png"]))
    with pytest.raises(ConfigurationError, match=r"a\.png: 30x40 px, but its annotations are for 40x30"):
        labelled[0]


def test_missing_images_are_counted_and_images_without_persons_left_out(tmp_path: Path, caplog):
    content = annotations([*NAMES, "gone.png"])
    content["annotations"] = [person for person in content["annotations"] if person["image_id"] != 2]
    with caplog.at_level(logging.WARNING):
        labelled = open_folder(tmp_path, GOOD, content)
    assert [place.key for place in labelled.places] == ["a.png", "c.png"]
    assert "1 of 3 annotated images are missing" in caplog.text


def test_validation_keeps_images_without_persons_and_decodes_them_when_asked(tmp_path: Path):
    content = annotations()
    del content["annotations"][1]
    files = GOOD | {"c.png": b""}
    labelled = open_folder(tmp_path, files, content, only_with_persons=False)
    frames = Frames(labelled)
    assert list(frames) == [1, 2, 3]
    assert frames[2][0, 0, 0] == 20
    assert len(labelled.annotation_file()["annotations"]) == 2
    with pytest.raises(TrainingError, match="validation image 3 cannot be used: truncated"):
        frames[3]


def test_parquet_is_refused_with_a_way_out(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"jobs/pack\.py"):
        open_folder(tmp_path, {"0.parquet": b""}, annotations())


def test_a_file_that_is_no_annotation_file_is_refused(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="no COCO annotation file"):
        open_folder(tmp_path, GOOD, {"images": []})
