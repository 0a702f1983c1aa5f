"""What a tool's file says about one image, before it is known whether that can be true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.review.formats.checks import Frame, Place
from pipeline.review.labels import ReviewedPerson

__all__ = ["Answer"]


@dataclass(frozen=True, eq=False)
class Answer:
    """One image of an export.

    Attributes:
        image_key: that the tool kept for us; None where it was lost.
        file_name: by which the tool knows the image, where that may be its key; None for an address.
        sha256: that the tool kept for us; None where it was lost.
        reviewer: as the file says it; None where it does not.
        frame: of the image.
        persons: in it.
        pre_labels: which joints of each of its pre-labels the task showed, as bits, by number; None where the
            tool lost that.
        place: of the image in the file.
        is_marked: whether the file says that somebody looked, be it that nothing was changed.
    """

    image_key: str | None
    file_name: str | None
    sha256: str | None
    reviewer: str | None
    frame: Frame
    persons: tuple[ReviewedPerson, ...]
    pre_labels: Mapping[int, int] | None
    place: Place
    is_marked: bool = False
