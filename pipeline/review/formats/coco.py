"""COCO's keypoints JSON, back, from CVAT and others: by the category's own list of joint names."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pipeline.review.formats.answer import Answer
from pipeline.review.formats.checks import (
    PRE_LABELS,
    Frame,
    PersonAnswer,
    Place,
    names_that_differ,
    pre_labels_of,
    require_sha256,
    shown,
    text_of,
    whole_number,
    with_numbers_once,
)
from pipeline.review.given import GIVEN
from pipeline.review.labels import ReviewedPerson
from posrefine.skeletons import Skeleton

__all__ = ["read_coco"]

logger = logging.getLogger(__name__)

_Record = dict[str, Any]


def read_coco(records: Iterable[tuple[str, Any]], place: Place, skeleton: Skeleton) -> Iterator[Answer]:
    """The images of an export, in the file's order; the file's records are in memory together.

    Raises:
        ConfigurationError: the file is no such export, or something in it does not fit.
    """
    images, persons, categories = _sorted_out(records, place)
    joints = {name: _joints_of(category, place, skeleton) for name, category in categories.items()}
    if not any(joints.values()):
        raise place.refusal('no category has keypoints; export as "COCO Keypoints 1.0", not as COCO')
    others = 0
    for image_id, image in images.items():
        here = place.at(f"image {image_id}", str(image.get("file_name")))
        frame = Frame.of(image.get("width"), image.get("height"), here)
        found, hashes = [], {require_sha256(image.get("sha256"), here)}
        pre_labels = pre_labels_of(image.get(PRE_LABELS), here)
        for record in persons.pop(image_id, []):
            inside = here.at(f"annotation {record.get('id')}")
            category = _id(record, "category_id", inside)
            if category not in joints:
                raise inside.refusal(f"category_id is {shown(category)}, which no category has")
            names = joints[category]
            if not names or record.get("iscrowd"):
                others += 1
                continue
            found.append(_person(record, names, frame, inside, skeleton))
            hashes.add(require_sha256(_attributes(record).get("sha256"), inside))
            if pre_labels is None:
                pre_labels = pre_labels_of(_attributes(record).get(PRE_LABELS), inside)
        hashes.discard(None)
        if len(hashes) > 1:
            several = ", ".join(sorted(map(str, hashes)))
            raise here.refusal(
                f"has persons of several images, of the hashes {several}; if one was copied from another "
                "image, empty its attributes sha256 and person in the tool"
            )
        yield Answer(
            image_key=text_of(image, "image_key"),
            file_name=_file_name(image, here),
            sha256=hashes.pop() if hashes else None,
            reviewer=text_of(image, "reviewer"),
            frame=frame,
            persons=with_numbers_once(found),
            pre_labels=pre_labels,
            place=here,
        )
    for image_id, orphans in persons.items():
        raise place.at(f"annotation {orphans[0].get('id')}").refusal(
            f"image_id is {shown(image_id)}, which no image of the file has"
        )
    if others:
        logger.warning(
            "%s: %d annotations are of crowds or of other things than persons: left out", place, others
        )


def _sorted_out(
    records: Iterable[tuple[str, Any]], place: Place
) -> tuple[dict[Any, _Record], dict[Any, list[_Record]], dict[Any, _Record]]:
    """Images by id, persons by the id of their image, categories by id."""
    images: dict[Any, _Record] = {}
    persons: dict[Any, list[_Record]] = defaultdict(list)
    categories: dict[Any, _Record] = {}
    for kind, record in records:
        if kind not in ("images", "annotations", "categories"):
            continue
        if not isinstance(record, dict):
            raise place.at(kind).refusal(f"holds {shown(record)}, wanted objects")
        if kind == "annotations":
            persons[_id(record, "image_id", place.at(f"annotation {record.get('id')}"))].append(record)
            continue
        known = images if kind == "images" else categories
        number = _id(record, "id", place.at(kind))
        if number in known:
            raise place.at(kind).refusal(f"id {number} stands twice, wanted once")
        known[number] = record
    return images, persons, categories


def _id(record: _Record, name: str, place: Place) -> int | str:
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise place.refusal(f"{name} is {shown(value)}, wanted a number")
    return value


def _joints_of(category: _Record, place: Place, skeleton: Skeleton) -> list[str] | None:
    """The joints in the order of this category's persons; None for a category without."""
    names = category.get("keypoints")
    if not names:
        return None
    here = place.at(f"category {category.get('name')}")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise here.refusal(f"keypoints are {shown(names)}, wanted the joints' names")
    if sorted(names) != sorted(skeleton.joints):
        raise here.refusal(f"is another skeleton than {skeleton.name}: {names_that_differ(names, skeleton)}")
    return names


def _person(
    record: _Record, names: list[str], frame: Frame, place: Place, skeleton: Skeleton
) -> ReviewedPerson:
    flat = record.get("keypoints")
    if not isinstance(flat, list) or len(flat) != 3 * len(names):
        found = len(flat) if isinstance(flat, list) else shown(flat)
        raise place.refusal(
            f"keypoints are {found} numbers, wanted {3 * len(names)}: x, y and flag of each joint"
        )
    person = PersonAnswer(skeleton, frame, place)
    for position, joint in enumerate(names):
        person.add(joint, *flat[3 * position : 3 * position + 3])
    kept = _attributes(record)
    number = whole_number(kept.get("person"), "the person's number", place)
    return person.person(_box(record, place), number, text_of(kept, GIVEN))


def _box(record: _Record, place: Place) -> tuple[float, float, float, float] | None:
    box = record.get("bbox")
    if not box:
        return None
    try:
        x, y, width, height = map(float, box)
    except (TypeError, ValueError) as error:
        raise place.refusal(f"bbox is {shown(box)}, wanted left, top, width, height") from error
    return x, y, width, height


def _attributes(record: _Record) -> Mapping[str, Any]:
    attributes = record.get("attributes")
    return attributes if isinstance(attributes, dict) else {}


def _file_name(image: _Record, place: Place) -> str:
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        raise place.refusal(f"file_name is {shown(name)}, wanted a name")
    return name
