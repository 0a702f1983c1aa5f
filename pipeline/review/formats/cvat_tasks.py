"""Tasks for CVAT: its labels, and pre-labels in its own XML ("CVAT for images 1.1")."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from pipeline.review.formats.checks import HIDDEN, NOT_LABELLED, PRE_LABELS
from pipeline.review.formats.cvat import IMAGE_TAG, PERSON
from pipeline.review.formats.pre_labels import TaskFile, about_task, exported
from pipeline.review.given import GIVEN, REVIEWED, given_of
from pipeline.review.labels import ReviewTask
from posrefine.skeletons import Skeleton

__all__ = ["cvat_labels", "cvat_pieces", "has_name_in_xml"]

_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PERSON_ATTRIBUTES = ("person", "score", GIVEN)
_IMAGE_ATTRIBUTES = (REVIEWED, "image_key", "sha256", "reviewer", "reason", PRE_LABELS)
_STANDING = {
    "nose": (50, 10), "head": (50, 6), "neck": (50, 18),
    "left_eye": (53, 7), "left_ear": (56, 9), "left_shoulder": (62, 22), "left_elbow": (68, 36),
    "left_wrist": (70, 50), "left_hip": (57, 52), "left_knee": (58, 72), "left_ankle": (59, 92),
}  # fmt: skip
"""A figure that faces us, in hundredths of CVAT's drawing of a skeleton; the right side mirrors the left."""


def cvat_labels(skeleton: Skeleton) -> bytes:
    """What is pasted into "Raw" when a task is made: the skeleton, and a tag that says which image it is."""
    places = _places(skeleton)
    labels = [
        {
            "name": PERSON,
            "type": "skeleton",
            "attributes": [_attribute(name) for name in _PERSON_ATTRIBUTES],
            "sublabels": [{"name": joint, "type": "points", "attributes": []} for joint in skeleton.joints],
            "svg": _drawing(skeleton, places),
        },
        {
            "name": IMAGE_TAG,
            "type": "tag",
            "attributes": [_attribute(name) for name in _IMAGE_ATTRIBUTES],
        },
    ]
    return json.dumps(labels, indent=2).encode()


def _attribute(name: str) -> dict[str, object]:
    kind, value = _kind(name)
    return {"name": name, "input_type": kind, "mutable": False, "values": [value], "default_value": value}


def _kind(name: str) -> tuple[str, str]:
    """Of an attribute: how it is shown, and what it is before anybody says otherwise."""
    return ("checkbox", "false") if name == REVIEWED else ("text", "")


def _places(skeleton: Skeleton) -> list[tuple[float, float]]:
    """Where the joints stand in the drawing; on a circle where their names tell nothing."""
    places = []
    for index, joint in enumerate(skeleton.joints):
        angle = 2 * math.pi * index / skeleton.num_joints
        x, y = _STANDING.get(joint.replace("right_", "left_"), (0, 0))
        if (x, y) == (0, 0):
            places.append((50 + 40 * math.sin(angle), 50 - 40 * math.cos(angle)))
        else:
            places.append((100 - x if joint.startswith("right_") else x, y))
    return places


def _drawing(skeleton: Skeleton, places: list[tuple[float, float]]) -> str:
    edges = "".join(
        f'<line x1="{places[a][0]:.1f}" y1="{places[a][1]:.1f}" x2="{places[b][0]:.1f}" '
        f'y2="{places[b][1]:.1f}" data-type="edge" data-node-from="{a + 1}" data-node-to="{b + 1}"></line>'
        for a, b in skeleton.limbs
    )
    nodes = "".join(
        f'<circle r="0.75" cx="{x:.1f}" cy="{y:.1f}" data-type="element node" data-element-id="{node}" '
        f'data-node-id="{node}" data-label-name={quoteattr(joint)}></circle>'
        for node, (joint, (x, y)) in enumerate(zip(skeleton.joints, places, strict=True), start=1)
    )
    return edges + nodes


def has_name_in_xml(task: ReviewTask) -> bool:
    """Whether XML can hold the image's name: of control characters it takes three."""
    return _NOT_IN_XML.search(task.image_key) is None


def cvat_pieces(tasks: Iterable[ReviewTask], about: TaskFile, name: str) -> Iterator[str]:
    """annotations.xml in pieces, an image each.

    Joints that are not shown are `outside`, moved into the frame so that a reviewer can take hold of them.

    Args:
        tasks: of one reviewer.
        about: what is asked of them.
        name: of the task.
    """
    yield (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n  <version>1.1</version>\n'
        "  <meta>\n    <task>\n"
        f"      <name>{escape(name)}</name>\n      <mode>annotation</mode>\n"
        f"{_labels_xml(about.skeleton)}    </task>\n  </meta>\n"
    )
    for number, task in enumerate(tasks):
        yield _image(task, about, number)
    yield "</annotations>\n"


def _labels_xml(skeleton: Skeleton) -> str:
    def label(name: str, kind: str, attributes: Iterable[str] = (), parent: str = "") -> str:
        inside = "".join(
            f"<attribute><name>{one}</name><mutable>False</mutable><input_type>{kind_of}</input_type>"
            f"<default_value>{value}</default_value><values>{value}</values></attribute>"
            for one, (kind_of, value) in ((one, _kind(one)) for one in attributes)
        )
        of = f"<parent>{escape(parent)}</parent>" if parent else ""
        return (
            f"        <label><name>{escape(name)}</name><type>{kind}</type>"
            f"<attributes>{inside}</attributes>{of}</label>\n"
        )

    joints = "".join(label(joint, "points", parent=PERSON) for joint in skeleton.joints)
    return (
        f"      <labels>\n{label(PERSON, 'skeleton', _PERSON_ATTRIBUTES)}{joints}"
        f"{label(IMAGE_TAG, 'tag', _IMAGE_ATTRIBUTES)}      </labels>\n"
    )


def _image(task: ReviewTask, about: TaskFile, number: int) -> str:
    image = exported(task, about.skeleton)
    shown = image.shown(about.min_keypoint_score)
    points = np.clip(image.poses.keypoints.astype(float), 0, (task.width, task.height))
    size = f'width="{task.width}" height="{task.height}"'
    lines = [f'  <image id="{number}" name={quoteattr(task.image_key)} {size}>']
    for index, person in enumerate(task.persons):
        lines.append(f'    <skeleton label="{PERSON}" source="auto" z_order="0">')
        for joint, name in enumerate(about.skeleton.joints):
            x, y = points[index, joint]
            lines.append(
                f'      <points label={quoteattr(name)} source="auto" '
                f'outside="{int(shown[index, joint] == NOT_LABELLED)}" '
                f'occluded="{int(shown[index, joint] == HIDDEN)}" points="{x:.2f},{y:.2f}"></points>'
            )
        given = given_of(points[index].round(2), shown[index] != NOT_LABELLED)
        about_person = {"person": person.person, "score": f"{person.score:.4f}", GIVEN: given}
        lines += _attributes(about_person, indent=6)
        lines.append("    </skeleton>")
    lines.append(f'    <tag label="{IMAGE_TAG}" source="auto">')
    lines += _attributes({REVIEWED: "false"} | about_task(task, about), indent=6)
    lines += ["    </tag>", "  </image>"]
    return "\n".join(lines) + "\n"


def _attributes(values: dict[str, object], indent: int) -> list[str]:
    blanks = " " * indent
    return [
        f'{blanks}<attribute name="{name}">{escape(str(value), {chr(13): "&#13;"})}</attribute>'
        for name, value in values.items()
    ]
