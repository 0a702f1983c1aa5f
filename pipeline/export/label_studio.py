"""Label Studio: tasks with pre-annotations, and the labelling configuration that they need."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from pipeline.export.source import ExportedImage, ExportSource, ExportSummary
from pipeline.uris import join_uri
from posrefine.skeletons import Skeleton

__all__ = ["export_label_studio"]

_TASKS_PER_FILE = 1000
_POINT_PERCENT = 0.5
_LEFT, _RIGHT, _MIDDLE = "#ff8c00", "#00aaff", "#78dc46"


def export_label_studio(source: ExportSource, output: str) -> ExportSummary:
    """Write `label_config.xml` and `tasks-00000.json` and so on, 1,000 images each.

    A person is a rectangle; its joints are key points whose `parentID` is the rectangle's. Joints outside the
    frame or below the wanted score are left out. The score of a task is the mean of its persons': sort by it
    to review the doubtful ones first.

    Raises:
        ConfigurationError: images lie in shards, and `image_root` is not given.
    """
    config = join_uri(output, "label_config.xml")
    source.storage.put(config, _labelling_config(source.rows.skeleton).encode())
    files = []
    for number, tasks in enumerate(_in_files(_task(image, source) for image in source.images())):
        files.append(join_uri(output, f"tasks-{number:05d}.json"))
        source.storage.put(files[-1], json.dumps(tasks, allow_nan=False).encode())
    return source.summary("label-studio", config, *files)


def _in_files(tasks: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    waiting = iter(tasks)
    while some := list(islice(waiting, _TASKS_PER_FILE)):
        yield some


def _task(image: ExportedImage, source: ExportSource) -> dict[str, Any]:
    scores = image.poses.scores
    prediction = {
        "model_version": f"{source.rows.model} {source.rows.weights_sha256[:8]}",
        "score": round(float(scores.mean()), 4) if len(scores) else 0.0,
        "result": list(_regions(image, source.rows.skeleton, source.options.min_keypoint_score)),
    }
    data = {"image": source.address(image), "image_key": image.key}
    return {"data": data, "predictions": [prediction]}


def _regions(image: ExportedImage, skeleton: Skeleton, min_keypoint_score: float) -> Iterator[dict[str, Any]]:
    """Every person's rectangle, followed by its key points."""
    poses, size = image.poses, np.array([image.width, image.height], float)
    frame = {"original_width": image.width, "original_height": image.height, "image_rotation": 0}
    low = np.clip(poses.boxes_xywh[:, :2] / size, 0, 1)
    high = np.clip((poses.boxes_xywh[:, :2] + poses.boxes_xywh[:, 2:]) / size, 0, 1)
    boxes = _percent(np.concatenate([low, high - low], axis=1))
    shares = poses.keypoints / size
    shown = (poses.keypoint_scores >= min_keypoint_score) & ((shares >= 0) & (shares <= 1)).all(axis=2)
    points = _percent(shares)
    for person in range(len(poses)):
        parent = f"person-{person}"
        x, y, width, height = boxes[person]
        shape = {"x": x, "y": y, "width": width, "height": height, "rotation": 0}
        yield frame | {
            "id": parent,
            "type": "rectanglelabels",
            "from_name": "person",
            "to_name": "image",
            "value": shape | {"rectanglelabels": ["person"]},
            "score": round(float(poses.scores[person]), 4),
        }
        for joint in np.flatnonzero(shown[person]).tolist():
            x, y = points[person][joint]
            name = skeleton.joints[joint]
            yield frame | {
                "id": f"{parent}-{name}",
                "parentID": parent,
                "type": "keypointlabels",
                "from_name": "joints",
                "to_name": "image",
                "value": {"x": x, "y": y, "width": _POINT_PERCENT, "keypointlabels": [name]},
                "score": round(float(poses.keypoint_scores[person, joint]), 4),
            }


def _percent(shares: NDArray[np.float64]) -> Any:  # noqa: ANN401 - nested lists as deep as the array
    return (100 * shares).round(4).tolist()


def _labelling_config(skeleton: Skeleton) -> str:
    labels = "\n".join(
        f'    <Label value={quoteattr(joint)} background="{_colour(joint)}"/>' for joint in skeleton.joints
    )
    return f"""<View>
  <Image name="image" value="$image" zoom="true" zoomControl="true"/>
  <RectangleLabels name="person" toName="image">
    <Label value="person" background="#888888"/>
  </RectangleLabels>
  <KeyPointLabels name="joints" toName="image">
{labels}
  </KeyPointLabels>
</View>
"""


def _colour(joint: str) -> str:
    if joint.startswith("left_"):
        return _LEFT
    return _RIGHT if joint.startswith("right_") else _MIDDLE
