"""What other tools insist on when they read a file, written down as strict parsers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray


def strict_json(data: bytes | str) -> Any:
    """JSON without NaN and infinity, as every parser but Python's wants it."""

    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(data, parse_constant=refuse)


def read_yolo_labels(path: Path, joints: int) -> NDArray[np.float64]:
    """[N, 5 + 3K] as a YOLO trainer reads a label file: exact columns, all within the image."""
    lines = [line.split() for line in path.read_text().strip().splitlines() if line]
    if not lines:
        return np.zeros((0, 5 + 3 * joints))
    assert {len(line) for line in lines} == {5 + 3 * joints}
    labels = np.array(lines, float)
    assert (labels[:, 0] == 0).all()
    points = labels[:, 5:].reshape(len(labels), joints, 3)
    for coordinates in (labels[:, 1:5], points[..., :2]):
        assert coordinates.min() >= -0.01
        assert coordinates.max() <= 1.01
    assert set(np.unique(points[..., 2])) <= {0, 1, 2}
    assert (labels[:, 3:5] > 0).all()
    return labels


def read_label_studio(tasks: list[dict[str, Any]], config: str) -> list[list[dict[str, Any]]]:
    """Persons of each task as {box, score, joints}, after checking everything against the configuration."""
    root = ElementTree.fromstring(config)
    labels = {
        control.get("name"): ({label.get("value") for label in control}, control.get("toName"))
        for control in root
        if control.tag.endswith("Labels")
    }
    image = root.find("Image")
    assert image is not None
    return [_read_task(task, labels, image) for task in tasks]


def _read_task(task: dict[str, Any], labels: dict[Any, Any], image: Any) -> list[dict[str, Any]]:
    assert task["data"][image.get("value").removeprefix("$")]
    (prediction,) = task["predictions"]
    assert math.isfinite(prediction["score"])
    assert prediction["model_version"]
    persons: dict[str, dict[str, Any]] = {}
    ids = [region["id"] for region in prediction["result"]]
    assert len(ids) == len(set(ids))
    for region in prediction["result"]:
        known, target = labels[region["from_name"]]
        assert region["to_name"] == target == image.get("name")
        value, kind = region["value"], region["type"]
        (label,) = value[kind]
        assert label in known
        assert 0 <= value["x"] <= 100
        assert 0 <= value["y"] <= 100
        size = np.array([region["original_width"], region["original_height"]]) / 100
        point = np.array([value["x"], value["y"]]) * size
        if kind == "rectanglelabels":
            extent = np.array([value["width"], value["height"]]) * size
            box = [*point, *extent]
            persons[region["id"]] = {"box": box, "score": region["score"], "joints": {}}
        else:
            persons[region["parentID"]]["joints"][label] = point
    return list(persons.values())


def read_fiftyone_sample(line: str) -> dict[str, Any]:
    """A sample's dictionary with the classes that FiftyOne makes of it."""
    sample: dict[str, Any] = strict_json(line)
    assert isinstance(sample["filepath"], str)
    assert sample["metadata"]["_cls"] == "ImageMetadata"
    assert sample["poses"]["_cls"] == "Keypoints"
    for keypoint in sample["poses"]["keypoints"]:
        assert keypoint["_cls"] == "Keypoint"
        assert len(keypoint["points"]) == len(keypoint["confidence"])
        assert all(len(point) == 2 for point in keypoint["points"])
    return sample
