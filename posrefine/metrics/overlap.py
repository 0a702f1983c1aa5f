"""Images that two data sets share, whatever they are called there."""

from __future__ import annotations

from collections.abc import Set

import numpy as np
from numpy.typing import NDArray

from posrefine.metrics.persons import GroundTruth
from posrefine.skeletons import COCO, CROWDPOSE, Skeleton

__all__ = ["person_marks", "shared_images"]

_COMMON_JOINTS = tuple(joint for joint in COCO.joints if joint in CROWDPOSE.joints)
_LEAST_JOINTS = 5


def person_marks(
    keypoints: NDArray[np.float64], labelled: NDArray[np.bool_], skeleton: Skeleton
) -> list[bytes | None]:
    """What a person is recognised by: where exactly the joints lie, in whole px.

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


def shared_images(truth: GroundTruth, skeleton: Skeleton, marks: Set[bytes]) -> NDArray[np.int64]:
    """Ids of the images with a person whose mark is among `marks`, ascending."""
    found = person_marks(truth.keypoints, truth.labelled, skeleton)
    persons = np.array([person for person, mark in enumerate(found) if mark in marks], np.int64)
    return np.unique(truth.image_ids[truth.person_image[persons]])
