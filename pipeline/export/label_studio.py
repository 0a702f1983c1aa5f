"""Label Studio: tasks with pre-annotations, and the labelling configuration that they need."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

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
        "result": [
            region
            for person in range(len(scores))
            for region in _regions(image, person, source.rows.skeleton, source.options.min_keypoint_score)
        ],
    }
    data = {"image": source.address(image), "image_key": image.key}
    return {"data": data, "predictions": [prediction]}


def _regions(
    image: ExportedImage, person: int, skeleton: Skeleton, min_keypoint_score: float
) -> Iterator[dict[str, Any]]:
    """The rectangle, then its key points."""
    poses, size = image.poses, np.array([image.width, image.height], float)
    frame = {"original_width": image.width, "original_height": image.height, "image_rotation": 0}
    box = poses.boxes_xywh[person].astype(float)
    low, high = np.clip(box[:2] / size, 0, 1), np.clip((box[:2] + box[2:]) / size, 0, 1)
    x, y, width, height = (100 * np.concatenate([low, high - low])).round(4).tolist()
    parent = f"person-{person}"
    shape = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": ["person"]}
    about = {
        "id": parent,
        "type": "rectanglelabels",
        "from_name": "person",
        "to_name": "image",
        "value": shape,
    }
    yield frame | about | {"score": round(float(poses.scores[person]), 4)}
    points = poses.keypoints[person] / size
    shown = (poses.keypoint_scores[person] >= min_keypoint_score) & ((points >= 0) & (points <= 1)).all(
        axis=1
    )
    for joint in np.flatnonzero(shown).tolist():
        name = skeleton.joints[joint]
        x, y = (100 * points[joint]).round(4).tolist()
        value = {"x": x, "y": y, "width": _POINT_PERCENT, "keypointlabels": [name]}
        about = {"type": "keypointlabels", "from_name": "joints", "to_name": "image", "value": value}
        yield (
            frame
            | about
            | {
                "id": f"{parent}-{name}",
                "parentID": parent,
                "score": round(float(poses.keypoint_scores[person, joint]), 4),
            }
        )


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
