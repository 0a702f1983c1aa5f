"""Images that two data sets share, whatever they are called there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posrefine.metrics.persons import GroundTruth
from posrefine.skeletons import COCO, CROWDPOSE, Skeleton

__all__ = ["SharedImage", "person_marks", "shared_images"]

_COMMON_JOINTS = tuple(joint for joint in COCO.joints if joint in CROWDPOSE.joints)
_LEAST_JOINTS = 5


def person_marks(
    keypoints: NDArray[np.float64], labelled: NDArray[np.bool_], skeleton: Skeleton
) -> list[bytes | None]:
    """Marks that recognise a person in another data set: positions of the keypoints in whole px.

    Data sets that took over each other's images took over their joints as well. Only the joints that COCO and
    CrowdPose share take part, so marks of both can be compared.

    Args:
        keypoints: [P, K, 2] image px.
        labelled: [P, K].
        skeleton: of the K joints.

    Returns:
        P marks, None for persons with fewer than five joints to compare.
    """
    joints = [skeleton.joints.index(joint) for joint in _COMMON_JOINTS]
    shown = labelled[:, joints]
    places = np.where(shown[..., None], np.rint(keypoints[:, joints]), -1).astype(np.int32)
    enough = shown.sum(axis=1) >= _LEAST_JOINTS
    return [place.tobytes() if known else None for place, known in zip(places, enough, strict=True)]


@dataclass(frozen=True)
class SharedImage:
    """An image that is in another data set, too.

    Attributes:
        image_id: here.
        other_image_id: there.
        persons: by whom it was recognised.
    """

    image_id: int
    other_image_id: int
    persons: int


def shared_images(
    truth: GroundTruth, skeleton: Skeleton, image_of_mark: Mapping[bytes, int]
) -> list[SharedImage]:
    """The images with a person whose mark another set has, by ascending id.

    Args:
        truth: I images.
        skeleton: of its persons.
        image_of_mark: the other set's image of every mark in it.
    """
    votes: dict[int, Counter[int]] = {}
    marks = person_marks(truth.keypoints, truth.labelled, skeleton)
    for image_id, mark in zip(truth.image_ids[truth.person_image].tolist(), marks, strict=True):
        if mark is not None and mark in image_of_mark:
            votes.setdefault(image_id, Counter())[image_of_mark[mark]] += 1
    return [SharedImage(image_id, *found.most_common(1)[0]) for image_id, found in sorted(votes.items())]
