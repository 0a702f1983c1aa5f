"""Which annotated images a training set has too."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.json_stream import iter_records
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError
from posrefine.metrics import GroundTruth
from posrefine.metrics.overlap import person_marks, shared_images
from posrefine.skeletons import SKELETONS, Skeleton

__all__ = ["find_train_overlap"]

_ROWS_PER_CHUNK = 8192


def find_train_overlap(
    storage: Storage, uri: str, truth: GroundTruth, skeleton: Skeleton
) -> NDArray[np.int64]:
    """Ids of the images of `truth` that are in the training set described at `uri`, ascending.

    The file is either the training set's annotations in COCO's form, with COCO's or CrowdPose's joints: then
    images are recognised by their persons. Or it names the images known to be in both: a JSON list of their
    ids, or an object with these as keys.

    Raises:
        ConfigurationError: the file is neither.
        StorageError: it cannot be read.
    """
    marks: set[bytes | None] = set()
    pending: list[Any] = []
    named: list[object] = []
    is_annotation_file = False
    for key, record in iter_records(storage, uri):
        if key == "annotations":
            is_annotation_file = True
            pending.append(record.get("keypoints"))
            if len(pending) == _ROWS_PER_CHUNK:
                marks.update(_marks(pending, uri))
                pending = []
        else:
            named.append(record if key == "" else key)
    if not is_annotation_file:
        return np.intersect1d(truth.image_ids, _ids(named, uri))
    marks.update(_marks(pending, uri))
    return shared_images(truth, skeleton, {mark for mark in marks if mark is not None})


def _marks(rows: list[Any], uri: str) -> list[bytes | None]:
    rows = [row for row in rows if row]
    if not rows:
        return []
    joints = len(rows[0]) // 3
    known = {skeleton.num_joints: skeleton for skeleton in SKELETONS.values()}
    if joints not in known or any(len(row) != 3 * joints for row in rows):
        raise ConfigurationError(
            f"{uri}: persons with {joints} joints, or with differing numbers of them; expected the "
            f"{' or '.join(str(count) for count in known)} joints of {' or '.join(SKELETONS)}"
        )
    keypoints = np.array(rows, np.float64).reshape(-1, joints, 3)
    return person_marks(keypoints[..., :2], keypoints[..., 2] > 0, known[joints])


def _ids(named: list[object], uri: str) -> NDArray[np.int64]:
    try:
        return np.array([int(str(name)) for name in named], np.int64)
    except ValueError as error:
        raise ConfigurationError(
            f"{uri}: neither annotations in COCO's form nor a list of image ids ({error})"
        ) from error
