"""What is asked of people and what they answer: the records that all of review shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PreLabel", "ReviewTask", "ReviewedImage", "ReviewedPerson"]


@dataclass(frozen=True, eq=False)
class PreLabel:
    """A person that the network found, as a reviewer is shown it.

    Attributes:
        person: index of the person in its image's rows, best first; comes back with the answer, where
            the tool keeps it, and tells which person was moved.
        keypoints: [K, 2] float32, image px.
        keypoint_scores: [K] float32, 0 to 1.
        score: of the person, 0 to 1.
    """

    person: int
    keypoints: NDArray[np.float32]
    keypoint_scores: NDArray[np.float32]
    score: float


@dataclass(frozen=True, eq=False)
class ReviewTask:
    """One image that somebody is asked to look at.

    Attributes:
        image_key: of the run's tables.
        sha256: of the image's bytes, hexadecimal; answers find their image by it.
        uri: where the image lies.
        width, height: image px, of the frame of the keypoints.
        reason: why the image was chosen, in words for the reviewer.
        persons: those above the run's least score.
        reviewer: whose task it is; None for anybody's.
    """

    image_key: str
    sha256: str
    uri: str
    width: int
    height: int
    reason: str
    persons: tuple[PreLabel, ...]
    reviewer: str | None = None


@dataclass(frozen=True, eq=False)
class ReviewedPerson:
    """A person as a reviewer left it.

    Attributes:
        keypoints: [K, 2] float32, image px; 0, 0 where `visibility` is 0.
        visibility: [K] int8, COCO's: 0 not labelled, 1 labelled and hidden, 2 labelled and visible.
        bbox: left, top, width, height, image px; None where the tool has no boxes.
        person: of the pre-label that it was made from; None for those added, or where the tool lost it.
        given: that pre-label, to know it again, as `given_of` says it; None where the tool lost it.
    """

    keypoints: NDArray[np.float32]
    visibility: NDArray[np.int8]
    bbox: tuple[float, float, float, float] | None = None
    person: int | None = None
    given: str | None = None


@dataclass(frozen=True, eq=False)
class ReviewedImage:
    """A reviewer's answer about one image; no persons means that there is nobody.

    Attributes:
        image_key: as the file says it; None where it has none.
        sha256: as the file says it; None where it has none, and the key must do.
        reviewer: who looked.
        width, height: image px, as the file says.
        persons: all persons of the image.
        place: where in which file this stands, for errors and for the record.
        pre_labels: which joints of each of its pre-labels the task showed, as bits, by `PreLabel.person`;
            None where the tool lost that.
        is_marked: whether the file says that somebody looked, be it that nothing was changed.
    """

    image_key: str | None
    sha256: str | None
    reviewer: str
    width: int
    height: int
    persons: tuple[ReviewedPerson, ...]
    place: str
    pre_labels: Mapping[int, int] | None = None
    is_marked: bool = False
