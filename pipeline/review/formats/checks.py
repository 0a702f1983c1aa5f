"""What is checked of every person that comes back from people, whatever tool they used."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.review.labels import ReviewedPerson
from posrefine.errors import ConfigurationError
from posrefine.skeletons import Skeleton

__all__ = [
    "HIDDEN",
    "NOT_LABELLED",
    "NO_PRE_LABELS",
    "PRE_LABELS",
    "VISIBLE",
    "Frame",
    "PersonAnswer",
    "Place",
    "names_that_differ",
    "pre_labels_of",
    "printable",
    "require_sha256",
    "shown",
    "text_of",
    "whole_number",
    "with_numbers_once",
]

NOT_LABELLED, HIDDEN, VISIBLE = 0, 1, 2
"""COCO's flags of a joint."""

PRE_LABELS, NO_PRE_LABELS = "pre_labels", "none"
"""What tools keep of the persons that an image was given out with: number and joints shown, as bits in
hexadecimal, as in `0:1ffff 1:7f`; or that word."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_SHOWN = re.compile(r"[0-9]{1,9}:[0-9a-f]{1,32}( [0-9]{1,9}:[0-9a-f]{1,32})*")
_SHOWN_CHARS = 80
_MOST_PX = 1e9

_MOST_PX = 2**31 - 1
"""Of a side of an image: what the tables hold."""


@dataclass(frozen=True)
class Place:
    """Where in which file something stands.

    Attributes:
        file: its name; of an archive's member `archive.zip!member`.
        inside: from the outermost thing to the innermost.
    """

    file: str
    inside: tuple[str, ...] = ()

    def at(self, *inside: object) -> Place:
        """Something within."""
        return replace(self, inside=(*self.inside, *map(str, inside)))

    def refusal(self, what: str) -> ConfigurationError:
        """The error to raise: the place, what stands there, and what was wanted."""
        return ConfigurationError(f"{self}: {what}")

    def __str__(self) -> str:
        return printable(f"{self.file}: {', '.join(self.inside)}" if self.inside else self.file)


@dataclass(frozen=True)
class Frame:
    """Width and height of an image, px, as a file says them."""

    width: int
    height: int

    @staticmethod
    def of(width: object, height: object, place: Place) -> Frame:
        """From what stands in a file.

        Raises:
            ConfigurationError: they are no whole numbers of at least 1.
        """
        return Frame(_pixels(width, "width", place), _pixels(height, "height", place))

    def near(self, x: float, y: float) -> bool:
        """Whether a point lies in the frame, or at most as far from it as the frame is large."""
        return -self.width <= x <= 2 * self.width and -self.height <= y <= 2 * self.height


def _pixels(value: object, what: str, place: Place) -> int:
    pixels = _whole(value)
    if pixels is None or not 1 <= pixels <= _MOST_PX:
        raise place.refusal(f"the image's {what} is {shown(value)}, wanted px from 1 to {_MOST_PX}")
    return pixels


def _whole(value: object) -> int | None:
    """A whole number, be it said as a float or as text; None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return None
    return None if isinstance(value, float) and number != value else number


class PersonAnswer:
    """A person as it is read, joint by joint, by the joints' names.

    Args:
        skeleton: of the run.
        frame: of the image.
        place: of the person.
    """

    def __init__(self, skeleton: Skeleton, frame: Frame, place: Place) -> None:
        self._skeleton, self._frame, self._place = skeleton, frame, place
        self._keypoints = np.zeros((skeleton.num_joints, 2), np.float32)
        self._visibility = np.zeros(skeleton.num_joints, np.int8)
        self._named: set[str] = set()

    def add(self, joint: object, x: object, y: object, visibility: object) -> None:
        """Take a joint; where it lies is not looked at if `visibility` is 0.

        Raises:
            ConfigurationError: no such joint, the second of its name, a flag that is none of 0, 1 and 2, a
                coordinate that is no number or lies more than the frame's size beyond the frame.
        """
        place = self._place.at(f"joint {joint}")
        if not isinstance(joint, str) or joint not in self._skeleton.joints:
            wanted = ", ".join(self._skeleton.joints)
            raise self._place.refusal(
                f"joint {shown(joint)} is unknown to the skeleton {self._skeleton.name}, wanted {wanted}"
            )
        if joint in self._named:
            raise place.refusal("stands twice in one person, wanted once; delete one of them in the tool")
        self._named.add(joint)
        if isinstance(visibility, bool) or visibility not in (NOT_LABELLED, HIDDEN, VISIBLE):
            raise place.refusal(
                f"visibility is {shown(visibility)}, wanted 0 (not labelled), 1 (hidden) or 2 (visible)"
            )
        if visibility == NOT_LABELLED:
            return
        column, row = _coordinate(x, "x", place), _coordinate(y, "y", place)
        if not self._frame.near(column, row):
            raise place.refusal(
                f"lies at {column:g}, {row:g}, far outside of the frame of {self._frame.width} x "
                f"{self._frame.height} px: the coordinates are of another image, or in other units"
            )
        index = self._skeleton.joints.index(joint)
        self._keypoints[index] = column, row
        self._visibility[index] = int(visibility)

    def require_all(self) -> None:
        """Raise `ConfigurationError` unless every joint of the skeleton was named."""
        missing = [joint for joint in self._skeleton.joints if joint not in self._named]
        if missing:
            raise self._place.refusal(
                f"has {len(self._named)} of {self._skeleton.num_joints} joints, {', '.join(missing)} are "
                "missing, wanted all of them: those that are not to be seen are marked, not left out"
            )

    def person(
        self,
        bbox: tuple[float, float, float, float] | None = None,
        number: int | None = None,
        given: str | None = None,
    ) -> ReviewedPerson:
        """The person; joints that were not named are not labelled.

        Raises:
            ConfigurationError: the box is none; or several labelled joints lie at 0, 0, where tools put those
                that are not labelled: their visibility was lost.
        """
        labelled = self._visibility != NOT_LABELLED
        at_origin = labelled & (self._keypoints == 0).all(axis=1)
        if at_origin.sum() > 1:
            names = [self._skeleton.joints[joint] for joint in np.flatnonzero(at_origin)]
            raise self._place.refusal(
                f"{', '.join(names)} are said to be visible at 0, 0, which is how joints without a label are "
                "written: the tool lost their visibility; export in another of its formats"
            )
        if bbox is not None:
            self._require_box(bbox)
        return ReviewedPerson(self._keypoints, self._visibility, bbox, number, given)

    def _require_box(self, bbox: tuple[float, float, float, float]) -> None:
        sound = all(math.isfinite(side) and abs(side) < _MOST_PX for side in bbox)
        if not sound or min(bbox[2:]) < 0:
            raise self._place.refusal(
                f"its box is {', '.join(f'{side:g}' for side in bbox)}, wanted px of left, top, width, height"
            )


def _coordinate(value: object, what: str, place: Place) -> float:
    try:
        number = float(value) if not isinstance(value, bool) else math.nan  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise place.refusal(f"{what} is {shown(value)}, wanted a number of px")
    return number


def whole_number(value: object, what: str, place: Place) -> int | None:
    """What a file says of pre-labels in numbers; nothing and "" are None.

    Raises:
        ConfigurationError: it is no whole number of at least 0.
    """
    if value is None or value == "":
        return None
    number = _whole(value)
    if number is None or number < 0:
        raise place.refusal(f"{what} is {shown(value)}, wanted 0, 1, 2 and so on, or nothing")
    return number


def pre_labels_of(value: object, place: Place) -> dict[int, int] | None:
    """Which joints of each pre-label of a task were shown, by its number; None where that is lost.

    Joint k is bit k.

    Raises:
        ConfigurationError: something else stands there.
    """
    if value is None or value == "":
        return None
    if value == NO_PRE_LABELS:
        return {}
    if not isinstance(value, str) or not _SHOWN.fullmatch(value):
        raise place.refusal(f"{PRE_LABELS} is {shown(value)}, wanted '0:1ffff 1:7f' and so on, or 'none'")
    return {int(person): int(joints, 16) for person, joints in (one.split(":") for one in value.split(" "))}


def with_numbers_once(persons: Iterable[ReviewedPerson]) -> tuple[ReviewedPerson, ...]:
    """The persons, without the numbers that several of them have.

    Copies that were made in a tool keep the number of the original; which of them that is, nobody can tell.
    """
    found = tuple(persons)
    times = Counter(person.person for person in found)
    return tuple(replace(p, person=None) if times[p.person] > 1 else p for p in found)


def require_sha256(value: object, place: Place) -> str | None:
    """An image's hash as a file says it, in lower case; nothing and "" are none.

    Raises:
        ConfigurationError: it is no SHA-256.
    """
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not _SHA256.fullmatch(value.strip().lower()):
        raise place.refusal(f"sha256 is {shown(value)}, wanted 64 hexadecimal digits")
    return value.strip().lower()


def text_of(record: Mapping[str, Any], name: str) -> str | None:
    """A text that a tool kept for us; None where it is not there, empty, or no text any more."""
    value = record.get(name)
    return value if isinstance(value, str) and value else None


def printable(text: str) -> str:
    """A foreign name as a terminal and a table can hold it: what is not printable is written out."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def shown(value: object) -> str:
    """A value of a foreign file for an error, not longer than a line takes."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"


def names_that_differ(found: Sequence[str], skeleton: Skeleton) -> str:
    """How a list of joint names differs from the skeleton's."""
    unknown = [name for name in found if name not in skeleton.joints]
    missing = [name for name in skeleton.joints if name not in found]
    parts = [f"{', '.join(map(shown, unknown))} are unknown"] if unknown else []
    parts += [f"{', '.join(missing)} are missing"] if missing else []
    parts += ["names repeat"] if len(set(found)) != len(found) else []
    return "; ".join(parts)
