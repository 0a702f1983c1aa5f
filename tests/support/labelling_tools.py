"""Exports of labelling tools, written down by each tool's own rules and by nothing of ours."""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from posrefine.skeletons import COCO

Joint = tuple[float, float, int]
"""x, y, flag; 0, 0, 0 for one that is not labelled."""


@dataclass(frozen=True)
class Labelled:
    """A person in a tool: joints by name, in any order, and the number that it came with."""

    joints: dict[str, Joint]
    number: int | None = None


@dataclass(frozen=True)
class LabelledImage:
    key: str
    sha256: str
    width: int
    height: int
    persons: tuple[Labelled, ...]
    pre_labels: str = "0:1ffff"


def cvat_xml(images: Sequence[LabelledImage], reviewer: str, chance: random.Random) -> str:
    """As CVAT dumps "CVAT for images 1.1": two decimals, shapes before tags, elements in any order."""
    parts = ['<?xml version="1.0" encoding="utf-8"?>', "<annotations><version>1.1</version>"]
    parts.append("<meta><task></task></meta>")
    for number, image in enumerate(images):
        size = f'width="{image.width}" height="{image.height}"'
        parts.append(f'<image id="{number}" name={quoteattr(image.key)} {size}>')
        for person in image.persons:
            parts.append('<skeleton label="person" source="manual" z_order="0">')
            joints = list(person.joints.items())
            chance.shuffle(joints)
            for name, (x, y, flag) in joints:
                x, y = (x, y) if flag else (7.0, 7.0)  # where CVAT leaves what is outside
                parts.append(
                    f'<points label="{name}" source="manual" outside="{int(flag == 0)}" '
                    f'occluded="{int(flag == 1)}" points="{x:.2f},{y:.2f}"></points>'
                )
            said = "" if person.number is None else person.number
            parts.append(f'<attribute name="person">{said}</attribute></skeleton>')
        kept = {
            "sha256": image.sha256,
            "image_key": image.key,
            "reviewer": reviewer,
            "pre_labels": image.pre_labels,
        }
        parts.append('<tag label="image" source="manual">')
        parts += [
            f'<attribute name="{name}">{escape(str(value), {chr(13): "&#13;"})}</attribute>'
            for name, value in kept.items()
        ]
        parts.append("</tag></image>")
    return "\n".join([*parts, "</annotations>"])


def label_studio_tasks(images: Sequence[LabelledImage], reviewer: str, chance: random.Random) -> list[Any]:
    """As Label Studio exports JSON: per cent, regions in any order, hidden joints by a choice a region."""
    tasks = []
    for image in images:
        frame = {"original_width": image.width, "original_height": image.height, "image_rotation": 0}
        regions: list[dict[str, Any]] = []
        for index, person in enumerate(image.persons):
            parent = f"new{index}" if person.number is None else f"person-{person.number}"
            box = {"x": 1.0, "y": 1.0, "width": 90.0, "height": 90.0, "rotation": 0}
            regions.append(
                frame
                | {"id": parent, "type": "rectanglelabels", "from_name": "person", "to_name": "image"}
                | {"value": box | {"rectanglelabels": ["person"]}}
            )
            for name, (x, y, flag) in person.joints.items():
                if not flag:
                    continue
                value = {"x": 100 * x / image.width, "y": 100 * y / image.height, "width": 0.5}
                same = frame | {"id": f"{parent}-{name}", "parentID": parent, "to_name": "image"}
                point = {"type": "keypointlabels", "from_name": "joints"}
                regions.append(same | point | {"value": value | {"keypointlabels": [name]}})
                if flag == 1:
                    choice = {"type": "choices", "from_name": "visibility"}
                    regions.append(same | choice | {"value": value | {"choices": ["hidden"]}})
        chance.shuffle(regions)
        kept = {
            "image": f"https://images.example/{image.key}",
            "image_key": image.key,
            "sha256": image.sha256,
            "reviewer": reviewer,
            "width": image.width,
            "height": image.height,
            "pre_labels": image.pre_labels,
        }
        annotation = {"id": 5, "completed_by": 3, "was_cancelled": False, "result": regions}
        tasks.append({"id": len(tasks), "data": kept, "annotations": [annotation], "predictions": []})
    return tasks


def fiftyone_samples(images: Sequence[LabelledImage], reviewer: str, chance: random.Random) -> list[Any]:
    """As FiftyOne writes samples: shares of the frame, NaN by MongoDB's extended JSON."""
    samples = []
    for image in images:
        keypoints = []
        for person in image.persons:
            joints = list(person.joints.items())
            chance.shuffle(joints)
            points: list[list[Any]] = [
                [x / image.width, y / image.height] if flag else [{"$numberDouble": "NaN"}] * 2
                for _, (x, y, flag) in joints
            ]
            keypoints.append(
                {
                    "_id": {"$oid": "6b0c0c8235e24504d4d8e4ac"},
                    "_cls": "Keypoint",
                    "label": "person",
                    "points": points,
                    "visible": [flag for _, (_, _, flag) in joints],
                    "joints": [name for name, _ in joints],
                    "person": person.number,
                }
            )
        samples.append(
            {
                "filepath": f"/images/{image.key}",
                "tags": [],
                "image_key": image.key,
                "sha256": image.sha256,
                "metadata": {"_cls": "ImageMetadata", "width": image.width, "height": image.height},
                "poses": {"_cls": "Keypoints", "keypoints": keypoints},
                "reviewer": reviewer,
                "pre_labels": image.pre_labels,
            }
        )
    return samples


def coco_content(images: Sequence[LabelledImage], reviewer: str, chance: random.Random) -> dict[str, Any]:
    """As CVAT exports "COCO Keypoints 1.0", in an order of its own that the category says."""
    names = list(COCO.joints)
    chance.shuffle(names)
    people = []
    for number, image in enumerate(images):
        for person in image.persons:
            flat = [value for name in names for value in person.joints[name]]
            kept = {"person": person.number, "sha256": image.sha256}
            people.append(
                {
                    "id": len(people) + 1,
                    "image_id": number + 7,
                    "category_id": 4,
                    "iscrowd": 0,
                    "keypoints": flat,
                    "bbox": [1, 2, 3, 4],
                    "attributes": kept,
                }
            )
    chance.shuffle(people)
    return {
        "annotations": people,
        "images": [
            {
                "id": number + 7,
                "file_name": image.key,
                "width": image.width,
                "height": image.height,
                "sha256": image.sha256,
                "image_key": image.key,
                "reviewer": reviewer,
                "pre_labels": image.pre_labels,
            }
            for number, image in enumerate(images)
        ],
        "categories": [{"id": 4, "name": "person", "keypoints": names, "skeleton": []}],
    }


Images = Sequence[LabelledImage]


def _zipped(images: Images, reviewer: str, chance: random.Random, folder: Path) -> Path:
    path = folder / "task_1.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images/a.jpg", b"no picture")
        archive.writestr("annotations.xml", cvat_xml(images, reviewer, chance))
    return path


def _tasks(images: Images, reviewer: str, chance: random.Random, folder: Path) -> Path:
    path = folder / "project-1.json"
    path.write_text(json.dumps(label_studio_tasks(images, reviewer, chance)))
    return path


def _lines(images: Images, reviewer: str, chance: random.Random, folder: Path) -> Path:
    path = folder / "samples.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in fiftyone_samples(images, reviewer, chance)))
    return path


def _ground_truth(images: Images, reviewer: str, chance: random.Random, folder: Path) -> Path:
    path = folder / "person_keypoints_default.json"
    path.write_text(json.dumps(coco_content(images, reviewer, chance)))
    return path


EXPORTS: dict[str, Callable[[Images, str, random.Random, Path], Path]] = {
    "cvat": _zipped,
    "label-studio": _tasks,
    "fiftyone": _lines,
    "coco": _ground_truth,
}
"""Of each tool the export as people download it."""
