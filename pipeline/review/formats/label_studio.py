"""Label Studio's own JSON, back: rectangles are persons, key points with their `parentID` are joints."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.export.label_studio import HIDDEN_CHOICE, PERSON, VISIBILITY, VISIBLE_CHOICE
from pipeline.review.formats.answer import Answer
from pipeline.review.formats.checks import (
    HIDDEN,
    PRE_LABELS,
    VISIBLE,
    Frame,
    PersonAnswer,
    Place,
    pre_labels_of,
    require_sha256,
    shown,
    text_of,
    with_numbers_once,
)
from posrefine.skeletons import Skeleton

__all__ = ["read_label_studio"]

logger = logging.getLogger(__name__)

_OF_PRE_LABEL = re.compile(r"person-(\d{1,9})")
_FLAGS = {VISIBLE_CHOICE: VISIBLE, HIDDEN_CHOICE: HIDDEN}
_Box = tuple[float, float, float, float]


def read_label_studio(tasks: Iterable[Any], place: Place, skeleton: Skeleton) -> Iterator[Answer]:
    """The annotations of an export's tasks; tasks that nobody has answered, or that were skipped, have none.

    Of a reviewer's several annotations of one task the one that was changed last counts.

    Raises:
        ConfigurationError: the file is no such export, or something in it does not fit.
    """
    unanswered = 0
    for number, task in enumerate(tasks):
        here = place.at(f"task {number}")
        data = _member(task, "data", dict, here)
        if "annotations" not in task:
            raise here.refusal(
                "has no annotations; export as JSON, for JSON-MIN and others lose whose joint is whose"
            )
        answers = _given(_member(task, "annotations", list, here), here)
        unanswered += not answers
        named = {_who(answer) for answer in answers}
        for answer in _newest(answers):
            inside = here.at(f"image {data.get('image_key')}", f"annotation {answer.get('id')}")
            regions = _member(answer, "result", list, inside)
            yield _answer(data, regions, _reviewer(data, answer, len(named)), inside, skeleton)
    if unanswered:
        logger.warning("%s: %d tasks have no answer: left out", place, unanswered)


def _given(annotations: list[Any], place: Place) -> list[dict[str, Any]]:
    for annotation in annotations:
        if not isinstance(annotation, dict):
            raise place.refusal(f"an annotation is {shown(annotation)}, wanted an object")
    return [annotation for annotation in annotations if not annotation.get("was_cancelled")]


def _newest(annotations: list[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    """The last one of each reviewer."""
    by_time = sorted(annotations, key=lambda one: (str(one.get("updated_at") or ""), str(one.get("id"))))
    return {_who(annotation): annotation for annotation in by_time}.values()


def _who(annotation: Mapping[str, Any]) -> str:
    who = annotation.get("completed_by")
    if isinstance(who, dict):
        who = who.get("email") or who.get("username") or who.get("id")
    return "" if who is None else f"user {who}" if isinstance(who, int) else str(who)


def _reviewer(data: Mapping[str, Any], annotation: Mapping[str, Any], reviewers: int) -> str | None:
    """The one that the task was for; where several have answered it, the one that Label Studio names."""
    meant = text_of(data, "reviewer")
    return meant if meant and reviewers == 1 else _who(annotation) or None


@dataclass
class _Region:
    place: Place
    box: _Box
    joints: list[tuple[str, int, float, float]] = field(default_factory=list)


def _answer(
    data: Mapping[str, Any], regions: list[Any], reviewer: str | None, place: Place, skeleton: Skeleton
) -> Answer:
    frame = _frame(data, regions, place)
    hidden = dict(_flags(regions, place))
    persons = _rectangles(regions, frame, place)
    for region in regions:
        here = place.at(f"region {region.get('id')}")
        if region.get("type") in ("rectangle", "keypoint"):
            raise here.refusal(
                f"a {region['type']} without a label, wanted one; label or delete it in the tool"
            )
        if region.get("type") != "keypointlabels":
            continue
        value = _member(region, "value", dict, here)
        x, y = (_share(value, name, here) for name in ("x", "y"))
        parent = _parent(region, x * frame.width, y * frame.height, persons, here)
        joint = _label(value, "keypointlabels", here)
        flag = hidden.get(str(region.get("id")), VISIBLE)
        parent.joints.append((joint, flag, x * frame.width, y * frame.height))
    found = []
    for name, drawn in persons.items():
        person = PersonAnswer(skeleton, frame, drawn.place)
        for joint, flag, x, y in drawn.joints:
            person.add(joint, x, y, flag)
        numbered = _OF_PRE_LABEL.fullmatch(name)
        found.append(person.person(drawn.box, int(numbered[1]) if numbered else None))
    return Answer(
        image_key=text_of(data, "image_key"),
        file_name=None,
        sha256=require_sha256(data.get("sha256"), place),
        reviewer=reviewer,
        frame=frame,
        persons=with_numbers_once(found),
        pre_labels=pre_labels_of(data.get(PRE_LABELS), place),
        place=place,
        # Whoever submits an annotation has looked: pre-labels alone are predictions.
        is_marked=True,
    )


def _frame(data: Mapping[str, Any], regions: list[Any], place: Place) -> Frame:
    """Of the task; every region must say the same, for its numbers are shares of it."""
    frame = Frame.of(data["width"], data.get("height"), place) if "width" in data else None
    for region in regions:
        if not isinstance(region, dict):
            raise place.refusal(f"a region is {shown(region)}, wanted an object")
        if "original_width" not in region:
            continue
        here = place.at(f"region {region.get('id')}")
        if region.get("image_rotation"):
            turned = shown(region["image_rotation"])
            raise here.refusal(
                f"the image was turned by {turned} degrees, wanted 0; turn it back in the tool"
            )
        said = Frame.of(region.get("original_width"), region.get("original_height"), here)
        if frame is not None and frame != said:
            raise here.refusal(
                f"is of an image of {said.width} x {said.height} px, wanted {frame.width} x {frame.height}: "
                "the tool was shown another image"
            )
        frame = said
    if frame is None:
        raise place.refusal("neither the task's data nor a region says the image's width and height")
    return frame


def _flags(regions: list[dict[str, Any]], place: Place) -> Iterator[tuple[str, int]]:
    """What is to be seen of regions, by their ids, where the reviewer has said it."""
    for region in regions:
        if region.get("from_name") != VISIBILITY:
            continue
        here = place.at(f"region {region.get('id')}")
        choice = _label(_member(region, "value", dict, here), "choices", here)
        if choice not in _FLAGS:
            raise here.refusal(f"{VISIBILITY} is {shown(choice)}, wanted {' or '.join(_FLAGS)}")
        yield str(region.get("id")), _FLAGS[choice]


def _rectangles(regions: list[dict[str, Any]], frame: Frame, place: Place) -> dict[str, _Region]:
    """The persons by the ids of their regions."""
    persons: dict[str, _Region] = {}
    for region in regions:
        if region.get("type") != "rectanglelabels":
            continue
        here = place.at(f"region {region.get('id')}")
        value = _member(region, "value", dict, here)
        if _label(value, "rectanglelabels", here) != PERSON:
            continue
        name = str(region.get("id"))
        if name in persons:
            raise here.refusal("two persons have this id, wanted one each")
        persons[name] = _Region(here, _box(value, frame, here))
    return persons


def _box(value: Mapping[str, Any], frame: Frame, place: Place) -> _Box:
    """Left, top, width, height, px; around a rectangle that was turned, which turns around its left top."""
    x, y, width, height = (_share(value, name, place) for name in ("x", "y", "width", "height"))
    left, top, across, down = x * frame.width, y * frame.height, width * frame.width, height * frame.height
    if not value.get("rotation"):
        return left, top, across, down
    angle = math.tau * _share(value, "rotation", place) * 100 / 360
    along, beside = math.cos(angle), math.sin(angle)
    xs = [left + a * along - d * beside for a in (0, across) for d in (0, down)]
    ys = [top + a * beside + d * along for a in (0, across) for d in (0, down)]
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def _parent(
    region: Mapping[str, Any], x: float, y: float, persons: Mapping[str, _Region], place: Place
) -> _Region:
    """The person of a joint: the one it was put into, else the only one whose rectangle it lies in."""
    parent = region.get("parentID")
    if parent:
        if not isinstance(parent, str) or parent not in persons:
            raise place.refusal(f"lies in region {shown(parent)}, which is no {PERSON}")
        return persons[parent]
    around = [one for one in persons.values() if _contains(one.box, x, y)]
    if len(around) != 1:
        raise place.refusal(
            f"is in no person, and within the rectangles of {len(around)}, wanted of one; drag it into its "
            "person in the list of regions"
        )
    return around[0]


def _contains(box: _Box, x: float, y: float) -> bool:
    return box[0] <= x <= box[0] + box[2] and box[1] <= y <= box[1] + box[3]


def _label(value: Mapping[str, Any], name: str, place: Place) -> str:
    labels = value.get(name)
    if not isinstance(labels, list) or len(labels) != 1 or not isinstance(labels[0], str):
        raise place.refusal(f"{name} are {shown(labels)}, wanted one")
    return labels[0]


def _share(value: Mapping[str, Any], name: str, place: Place) -> float:
    """Per cent in the file."""
    number = value.get(name)
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise place.refusal(f"{name} is {shown(number)}, wanted per cent of the image")
    return number / 100


def _member(record: Any, name: str, kind: type, place: Place) -> Any:  # noqa: ANN401 - JSON
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, kind):
        wanted = "an object" if kind is dict else "a list"
        raise place.refusal(f"{name} is {shown(value)}, wanted {wanted}")
    return value
