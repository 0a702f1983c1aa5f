"""The persons of an annotation file, for training: of one category, with the names of their joints."""

from __future__ import annotations

import hashlib
import logging
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.ground_truth.annotation_records import Record, parse_annotations
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError
from posrefine.metrics.categories import person_record
from posrefine.skeletons import Skeleton
from posrefine.training.labels import usable_segment

__all__ = ["PersonFile", "read_persons"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PersonFile:
    """Images and persons of an annotation file.

    Attributes:
        images: records of the images.
        persons: annotations of the person category by image id; no other category's.
        categories: the person category, or nothing where the file lists none.
        joints: names of the keypoints, where they are not the skeleton's; else None.
        sha256: hex digest of the file's bytes.
    """

    images: Sequence[Record]
    persons: Mapping[int, Sequence[Record]]
    categories: Sequence[Record]
    joints: tuple[str, ...] | None
    sha256: str


def read_persons(uri: str, skeleton: Skeleton, storage: Storage) -> PersonFile:
    """Read the annotation file at `uri`.

    Raises:
        ConfigurationError: it is not in COCO's form, several categories may be persons, or their joints have
            no name in common with the skeleton's.
        StorageError: it cannot be read.
    """
    data = storage.read_bytes(uri)
    content = _content(uri, data)
    person = person_record(content["categories"])
    persons: defaultdict[int, list[Record]] = defaultdict(list)
    for record in content["annotations"]:
        if person is None or record.get("category_id", person.get("id")) == person.get("id"):
            persons[record["image_id"]].append(_slim(record))
    _warn_of_segments(content["images"], persons, uri)
    categories = [] if person is None else [person]
    joints = _other_joints(person, skeleton, uri)
    return PersonFile(content["images"], persons, categories, joints, hashlib.sha256(data).hexdigest())


def _warn_of_segments(images: Sequence[Record], persons: Mapping[int, Sequence[Record]], uri: str) -> None:
    """Count the segments that the labels pass over, since they are none of an image of this size."""
    sizes = {image["id"]: image for image in images if image.get("width") and image.get("height")}
    passed = [
        record.get("id")
        for records in persons.values()
        for record in records
        if record.get("segmentation") and (image := sizes.get(record["image_id"])) is not None
        if usable_segment(record, image["height"], image["width"]) is None
    ]
    if passed:
        logger.warning(
            "annotations %s: %d segments are polygons of one or two points or run lengths of another image "
            "size, such as that of annotation %s; their boxes stand in",
            uri,
            len(passed),
            passed[0],
        )


def _other_joints(person: Record | None, skeleton: Skeleton, uri: str) -> tuple[str, ...] | None:
    names = tuple((person or {}).get("keypoints") or skeleton.joints)
    if names == skeleton.joints:
        return None
    if not set(names) & set(skeleton.joints):
        raise ConfigurationError(
            f"annotations {uri}: the joints {', '.join(names)} have none in common with {skeleton.name}'s "
            f"{', '.join(skeleton.joints)}: joints are known by their names in the person category"
        )
    return names


def _content(uri: str, data: bytes) -> Record:
    content = parse_annotations(data, uri, "images", "annotations", "categories")
    for record in content["annotations"]:
        box, points, area = (record.get(name) for name in ("bbox", "keypoints", "area"))
        right = (
            _are_numbers(box) and len(box) == 4 and _are_numbers(points or []) and _are_numbers([area or 0])
        )
        if not right:
            raise ConfigurationError(
                f"annotations {uri}: no COCO annotation file: annotation {record.get('id')!r:.80} has the "
                f"bbox {box!r:.80}, the area {area!r:.80} and the keypoints {points!r:.80}; wanted a box "
                "of 4 numbers, and where they are known an area and 3 numbers for each joint"
            )
    return content


def _are_numbers(value: Any) -> bool:  # noqa: ANN401
    """Whether it is a list of finite numbers: what is none would be learnt from in silence."""
    try:
        return isinstance(value, list) and all(map(math.isfinite, value))
    except (TypeError, OverflowError):
        return False


def _slim(record: Record) -> Record:
    """Without the segments of labelled persons, which are most of the file and are never used."""
    if record.get("iscrowd") or not any((record.get("keypoints") or [])[2::3]):
        return record
    return {name: value for name, value in record.items() if name != "segmentation"}
