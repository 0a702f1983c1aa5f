"""FiftyOne's samples, back: native `Keypoints`, whose points carry the joints' names along with them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pipeline.review.formats.answer import Answer
from pipeline.review.formats.checks import (
    NOT_LABELLED,
    PRE_LABELS,
    VISIBLE,
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
from pipeline.review.given import GIVEN, REVIEWED
from pipeline.review.labels import ReviewedPerson
from posrefine.skeletons import Skeleton

__all__ = ["read_fiftyone"]

_FIELD = "poses"


def read_fiftyone(
    samples: Iterable[tuple[int, Any]], place: Place, skeleton: Skeleton, order: Sequence[str] | None = None
) -> Iterator[Answer]:
    """The samples of an export, each with its line or position.

    Points are shares of the frame and stand in the order of `joints` of their keypoint. Those that were drawn
    in FiftyOne have none, and stand in that of the data set's skeleton.

    Args:
        samples: their dictionaries.
        place: of the file.
        skeleton: of the run.
        order: the joints of the data set's skeleton, where a file beside this one says them.

    Raises:
        ConfigurationError: the file is no such export, or something in it does not fit.
    """
    for number, sample in samples:
        here = place.at(f"sample {number}")
        if not isinstance(sample, dict) or not isinstance(sample.get("filepath"), str):
            raise here.refusal("has no filepath: no sample of FiftyOne")
        here = here.at(f"image {sample.get('image_key') or sample['filepath']}")
        metadata = sample.get("metadata")
        if not isinstance(metadata, dict):
            raise here.refusal("has no metadata, which say the image's width and height")
        frame = Frame.of(_plain(metadata.get("width")), _plain(metadata.get("height")), here)
        persons = [
            _person(keypoint, frame, here.at(f"person {position}"), skeleton, order)
            for position, keypoint in enumerate(_keypoints(sample, here))
        ]
        yield Answer(
            image_key=text_of(sample, "image_key"),
            file_name=None,
            sha256=require_sha256(sample.get("sha256"), here),
            reviewer=text_of(sample, "reviewer"),
            frame=frame,
            persons=with_numbers_once(persons),
            pre_labels=pre_labels_of(_plain(sample.get(PRE_LABELS)), here),
            place=here,
            is_marked=REVIEWED in _tags(sample),
        )


def _tags(sample: Mapping[str, Any]) -> list[Any]:
    tags = sample.get("tags")
    return tags if isinstance(tags, list) else []


def _keypoints(sample: Mapping[str, Any], place: Place) -> list[Any]:
    if _FIELD not in sample:
        raise place.refusal(f"has no field {_FIELD}, wanted the one that was exported with the task")
    field = sample[_FIELD]
    if field is None:
        return []
    if not isinstance(field, dict) or field.get("_cls") != "Keypoints":
        raise place.refusal(f"{_FIELD} is {shown(field)}, wanted Keypoints")
    found = field.get("keypoints") or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise place.refusal(f"{_FIELD}.keypoints is {shown(found)}, wanted a list of objects")
    return found


def _person(
    keypoint: Mapping[str, Any],
    frame: Frame,
    place: Place,
    skeleton: Skeleton,
    order: Sequence[str] | None,
) -> ReviewedPerson:
    joints = keypoint.get("joints") or order
    if joints is None:
        raise place.refusal(
            "its points have no names, for it was drawn in the tool; put skeleton.json of the task, or "
            "metadata.json of the data set's export, beside this file"
        )
    names = [str(joint) for joint in joints] if isinstance(joints, list | tuple) else [str(joints)]
    if sorted(names) != sorted(skeleton.joints):
        raise place.refusal(
            f"has the joints of another skeleton than {skeleton.name}: {names_that_differ(names, skeleton)}"
        )
    points = keypoint.get("points")
    if not isinstance(points, list) or len(points) != len(names):
        found = len(points) if isinstance(points, list) else shown(points)
        raise place.refusal(f"has {found} points, wanted {len(names)}, one a joint")
    flags = _flags(keypoint, len(names), place)
    person = PersonAnswer(skeleton, frame, place)
    for joint, point, flag in zip(names, points, flags, strict=True):
        x, y = _point(point, place.at(f"joint {joint}"))
        absent = math.isnan(x) and math.isnan(y)
        flag = (NOT_LABELLED if absent else VISIBLE) if flag is None else flag
        if absent != (flag == NOT_LABELLED):
            raise place.at(f"joint {joint}").refusal(
                f"visible is {shown(flag)} and the point is {'absent' if absent else 'there'}: points and "
                "flags do not belong together, wanted absent points (NaN) where visible is 0 and nowhere else"
            )
        person.add(joint, x * frame.width, y * frame.height, flag)
    number = whole_number(_plain(keypoint.get("person")), "the person's number", place)
    return person.person(number=number, given=text_of(keypoint, GIVEN))


def _flags(keypoint: Mapping[str, Any], joints: int, place: Place) -> Sequence[Any]:
    flags = keypoint.get("visible")
    if flags is None:
        return [None] * joints
    if not isinstance(flags, list) or len(flags) != joints:
        found = len(flags) if isinstance(flags, list) else shown(flags)
        raise place.refusal(f"has {found} flags in visible, wanted {joints}, one a joint")
    return [_plain(flag) for flag in flags]


def _point(point: object, place: Place) -> tuple[float, float]:
    if isinstance(point, list) and len(point) == 2:
        x, y = map(_plain, point)
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in (x, y)):
            return x, y
    raise place.refusal(f"is at {shown(point)}, wanted shares of the frame, x and y")


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """A number without the object that MongoDB's extended JSON makes of some."""
    if isinstance(value, dict) and len(value) == 1:
        (kind, text) = next(iter(value.items()))
        if kind in ("$numberDouble", "$numberInt", "$numberLong") and isinstance(text, str):
            with suppress(ValueError):
                return float(text) if kind == "$numberDouble" else int(text)
    return value
