"""Label Studio: tasks with pre-annotations, and the labelling configuration that they need."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from pipeline.export.source import ExportedImage, ExportSource, ExportSummary
from pipeline.storage.uris import join_uri
from posrefine.skeletons import Skeleton

__all__ = [
    "HIDDEN_CHOICE",
    "JOINTS",
    "PERSON",
    "VISIBILITY",
    "VISIBLE_CHOICE",
    "export_label_studio",
    "labelling_config",
    "regions",
]

PERSON, JOINTS, VISIBILITY = "person", "joints", "visibility"
"""Label and control of rectangles, control of key points, control of what is to be seen of a key point."""
VISIBLE_CHOICE, HIDDEN_CHOICE = "visible", "hidden"
_HIDDEN = 1
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
    source.storage.put(config, labelling_config(source.rows.skeleton).encode())
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
        "result": list(regions(image, source.rows.skeleton, source.options.min_keypoint_score)),
    }
    data = {"image": source.address(image), "image_key": image.key}
    return {"data": data, "predictions": [prediction]}


def regions(
    image: ExportedImage, skeleton: Skeleton, min_keypoint_score: float, numbers: Sequence[int] | None = None
) -> Iterator[dict[str, Any]]:
    """Every person's rectangle, whose id is `person-<number>`, followed by its key points.

    Of those that people have called hidden a choice of the same id says so.

    Args:
        image: with the persons.
        skeleton: of them.
        min_keypoint_score: joints below it are left out, as are those outside of the frame.
        numbers: of the persons; None counts them from 0.
    """
    poses, size = image.poses, np.array([image.width, image.height], float)
    frame = {"original_width": image.width, "original_height": image.height, "image_rotation": 0}
    low = np.clip(image.boxes_xywh[:, :2] / size, 0, 1)
    high = np.clip((image.boxes_xywh[:, :2] + image.boxes_xywh[:, 2:]) / size, 0, 1)
    boxes = _percent(np.concatenate([low, high - low], axis=1))
    shown = image.shown(min_keypoint_score)
    points = _percent(poses.keypoints / size)
    for person in range(len(poses)):
        parent = f"person-{person if numbers is None else numbers[person]}"
        x, y, width, height = boxes[person]
        shape = {"x": x, "y": y, "width": width, "height": height, "rotation": 0}
        yield frame | {
            "id": parent,
            "type": "rectanglelabels",
            "from_name": PERSON,
            "to_name": "image",
            "value": shape | {"rectanglelabels": [PERSON]},
            "score": round(float(poses.scores[person]), 4),
        }
        for joint in np.flatnonzero(shown[person]).tolist():
            x, y = points[person][joint]
            name = skeleton.joints[joint]
            point = {"x": x, "y": y, "width": _POINT_PERCENT}
            region = frame | {"id": f"{parent}-{name}", "parentID": parent, "to_name": "image"}
            yield region | {
                "type": "keypointlabels",
                "from_name": JOINTS,
                "value": point | {"keypointlabels": [name]},
                "score": round(float(poses.keypoint_scores[person, joint]), 4),
            }
            if shown[person, joint] == _HIDDEN:
                choice = {"type": "choices", "from_name": VISIBILITY}
                yield region | choice | {"value": point | {"choices": [HIDDEN_CHOICE]}}


def _percent(shares: NDArray[np.float64]) -> Any:  # noqa: ANN401 - nested lists as deep as the array
    return (100 * shares).round(4).tolist()


def labelling_config(skeleton: Skeleton, heading: str | None = None) -> str:
    """The labelling interface: persons, their joints, and of a joint whether it is to be seen.

    Its `model_index` says in which order Label Studio's own exports list the joints.

    Args:
        skeleton: of the persons.
        heading: text above the image, `$name` for that member of the task's data; None for none.
    """
    above = "" if heading is None else f"\n  <Header value={quoteattr(heading)}/>"
    labels = "\n".join(
        f'    <Label value={quoteattr(joint)} background="{_colour(joint)}" model_index="{index}"/>'
        for index, joint in enumerate(skeleton.joints)
    )
    return f"""<View>{above}
  <Image name="image" value="$image" zoom="true" zoomControl="true"/>
  <RectangleLabels name="{PERSON}" toName="image">
    <Label value="{PERSON}" background="#888888"/>
  </RectangleLabels>
  <KeyPointLabels name="{JOINTS}" toName="image">
{labels}
  </KeyPointLabels>
  <Choices name="{VISIBILITY}" toName="image" choice="single" perRegion="true" whenTagName="{JOINTS}">
    <Choice value="{VISIBLE_CHOICE}"/>
    <Choice value="{HIDDEN_CHOICE}"/>
  </Choices>
</View>
"""


def _colour(joint: str) -> str:
    if joint.startswith("left_"):
        return _LEFT
    return _RIGHT if joint.startswith("right_") else _MIDDLE
