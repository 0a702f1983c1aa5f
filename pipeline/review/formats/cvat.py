"""CVAT's "CVAT for images 1.1", back: skeletons of named points, each with what is to be seen of it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO

from pipeline.review.formats.answer import Answer
from pipeline.review.formats.checks import (
    HIDDEN,
    NOT_LABELLED,
    PRE_LABELS,
    VISIBLE,
    Frame,
    PersonAnswer,
    Place,
    pre_labels_of,
    require_sha256,
    shown,
    text_of,
    whole_number,
    with_numbers_once,
)
from pipeline.review.formats.xml_events import Element, iter_elements
from pipeline.review.given import GIVEN, REVIEWED
from pipeline.review.labels import ReviewedPerson
from posrefine.skeletons import Skeleton

__all__ = ["IMAGE_TAG", "PERSON", "read_cvat"]

logger = logging.getLogger(__name__)

PERSON, IMAGE_TAG = "person", "image"
"""Labels of the skeleton, and of the tag that keeps what an image is."""
_EDITED = "semi-auto"
"""What CVAT says of the source of a shape that came as "auto" and that somebody took hold of."""
_SHAPES = {"box", "polygon", "polyline", "cuboid", "ellipse", "mask"}


def read_cvat(file: IO[bytes], place: Place, skeleton: Skeleton) -> Iterator[Answer]:
    """The images of an export, those without persons too; an image is in memory at a time.

    Raises:
        ConfigurationError: the file is no such export, or something in it does not fit.
    """
    reading = _Reading(place, skeleton)
    for element in iter_elements(file, place):
        if not element.path and element.tag != "annotations":
            raise place.refusal(f"<{element.tag}> is no export of CVAT, wanted <annotations>")
        if element.ends:
            answer = reading.end(element)
            if answer is not None:
                yield answer
        else:
            reading.start(element)
    for label, count in (+reading.others).items():
        logger.warning("%s: %d shapes or tags of the label %s are no persons: left out", place, count, label)


@dataclass
class _Image:
    place: Place
    name: str
    frame: Frame
    assignee: str | None = None
    about: dict[str, str] = field(default_factory=dict)
    persons: list[ReviewedPerson] = field(default_factory=list)
    is_edited: bool = False


@dataclass
class _Reading:
    """What is known at an element, of those around it."""

    place: Place
    skeleton: Skeleton
    task: str = ""
    assignees: dict[str, str] = field(default_factory=dict)
    others: Counter[str] = field(default_factory=Counter)
    image: _Image | None = None
    tag: str = ""
    person: PersonAnswer | None = None
    about_person: dict[str, str] = field(default_factory=dict)

    def start(self, element: Element) -> None:
        if element.tag == "track":
            raise self.place.at(f"line {element.line}").refusal(
                'holds tracks, which are of videos; export as "CVAT for images 1.1"'
            )
        if element.path == ("annotations",) and element.tag == "image":
            self.image = self._image(element)
        elif self.image is not None and element.path == ("annotations", "image"):
            self._start_in_image(self.image, element)
        elif self.person is not None and element.path[-1] == "skeleton" and element.tag != "attribute":
            self._joint(element)

    def end(self, element: Element) -> Answer | None:
        if element.path[-1:] in (("task",), ("job",)) and element.tag == "id":
            self.task = element.text.strip()
        elif element.path[-2:] in (("task", "assignee"), ("job", "assignee")) and element.tag == "username":
            self.assignees[self.task] = element.text.strip()
        if self.image is None:
            return None
        if element.tag == "attribute":
            self._attribute(self.image, element)
        elif element.tag == "skeleton" and self.person is not None:
            self._end_person(self.image, element)
        elif element.tag == "image":
            return self._end_image(self.image)
        return None

    def _image(self, element: Element) -> _Image:
        name = element.attributes.get("name", "")
        place = self.place.at(f"line {element.line}", f"image {name}")
        if not name:
            raise place.refusal("has no name")
        frame = Frame.of(element.attributes.get("width"), element.attributes.get("height"), place)
        return _Image(place, name, frame, self._assignee(element.attributes.get("task_id")))

    def _assignee(self, task: str | None) -> str | None:
        """Of an image's task; of a file that does not say which that is, the only one that there is."""
        if task is not None:
            return self.assignees.get(task)
        names = set(self.assignees.values())
        return names.pop() if len(names) == 1 else None

    def _start_in_image(self, image: _Image, element: Element) -> None:
        label = element.attributes.get("label", "")
        image.is_edited |= element.attributes.get("source") == _EDITED
        place = image.place.at(f"line {element.line}", f"<{element.tag}> {label}")
        if element.tag == "skeleton":
            if label != PERSON:
                raise place.refusal(f"is another skeleton, wanted one of the label {PERSON}")
            self.person, self.about_person = PersonAnswer(self.skeleton, image.frame, place), {}
        elif element.tag == "points" or (element.tag in _SHAPES and label == PERSON):
            raise place.refusal(
                f"belongs to no skeleton, so nobody can tell whose it is, wanted skeletons called {PERSON}"
            )
        elif element.tag in _SHAPES or element.tag == "tag":
            self.tag = label
            self.others[label] += label != IMAGE_TAG

    def _joint(self, element: Element) -> None:
        assert self.person is not None
        assert self.image is not None
        joint = element.attributes.get("label")
        self.image.is_edited |= element.attributes.get("source") == _EDITED
        place = self.image.place.at(f"line {element.line}", f"joint {joint}")
        if element.tag != "points":
            raise place.refusal(f"is a <{element.tag}>, wanted <points>")
        pairs = element.attributes.get("points", "").split(";")
        x, _, y = pairs[0].partition(",")
        if len(pairs) != 1:
            raise place.refusal(f"has {len(pairs)} points, wanted one")
        outside, occluded = (_flag(element, name, place) for name in ("outside", "occluded"))
        self.person.add(joint, x, y, NOT_LABELLED if outside else HIDDEN if occluded else VISIBLE)

    def _attribute(self, image: _Image, element: Element) -> None:
        name = element.attributes.get("name", "")
        if element.path[2:] == ("skeleton",):
            self.about_person[name] = element.text
        elif element.path[2:] == ("tag",) and self.tag == IMAGE_TAG:
            image.about[name] = element.text

    def _end_person(self, image: _Image, element: Element) -> None:
        assert self.person is not None
        place = image.place.at(f"line {element.line}", f"<skeleton> {PERSON}")
        self.person.require_all()
        number = whole_number(self.about_person.get("person"), "the person's number", place)
        given = text_of(self.about_person, GIVEN)
        image.persons.append(self.person.person(number=number, given=given))
        self.person = None

    def _end_image(self, image: _Image) -> Answer:
        self.image = None
        return Answer(
            image_key=image.about.get("image_key"),
            file_name=image.name,
            sha256=require_sha256(image.about.get("sha256"), image.place),
            reviewer=image.about.get("reviewer") or image.assignee,
            frame=image.frame,
            persons=with_numbers_once(image.persons),
            pre_labels=pre_labels_of(image.about.get(PRE_LABELS), image.place),
            place=image.place,
            is_marked=image.is_edited or image.about.get(REVIEWED, "").lower() == "true",
        )


def _flag(element: Element, name: str, place: Place) -> bool:
    value = element.attributes.get(name)
    if value not in ("0", "1"):
        raise place.refusal(f"{name} is {shown(value)}, wanted 0 or 1: what is to be seen of it is not known")
    return value == "1"
