"""Which annotated images a training set has too: found in its annotation file, or listed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.ground_truth.json_stream import iter_records
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError
from posrefine.metrics import GroundTruth
from posrefine.metrics.analysis.overlap import SharedImage, person_marks, shared_images
from posrefine.skeletons import SKELETONS, Skeleton

__all__ = ["encode_overlap", "find_train_overlap", "images_shared_with"]

_ROWS_PER_CHUNK = 8192


def find_train_overlap(
    storage: Storage, uri: str, truth: GroundTruth, skeleton: Skeleton
) -> NDArray[np.int64]:
    """Ids of the images of `truth` that are in the training set described at `uri`, ascending.

    The file is either the training set's annotations, as `images_shared_with` takes them. Or it names the
    images known to be in both: a JSON list of their ids, or an object with these as keys, such as
    `encode_overlap` makes.

    Raises:
        ConfigurationError: the file is neither.
        StorageError: it cannot be read.
    """
    first_key = next(iter_records(storage, uri), ("", None))[0]
    if first_key and not first_key.lstrip("-").isdigit():
        shared = images_shared_with(storage, uri, truth, skeleton)
        return np.array([image.image_id for image in shared], np.int64)
    named = [record if key == "" else key for key, record in iter_records(storage, uri)]
    return np.intersect1d(truth.image_ids, _ids(named, uri))


def images_shared_with(
    storage: Storage, uri: str, truth: GroundTruth, skeleton: Skeleton
) -> list[SharedImage]:
    """The images of `truth` that the annotation file at `uri` has, too, recognised by their persons.

    Args:
        storage: of the file.
        uri: annotations in COCO's form, with COCO's or CrowdPose's joints.
        truth: images to look for.
        skeleton: of their persons.

    Raises:
        ConfigurationError: the file is none, or has other joints.
        StorageError: it cannot be read.
    """
    image_of_mark: dict[bytes, int] = {}
    for persons in _chunks(storage, uri):
        marks = _marks([person["keypoints"] for person in persons], uri)
        for person, mark in zip(persons, marks, strict=True):
            if mark is not None:
                image_of_mark[mark] = person["image_id"]
    return shared_images(truth, skeleton, image_of_mark)


def encode_overlap(shared: Sequence[SharedImage]) -> bytes:
    """A JSON object: by image id, the training set's image, and how many persons both have."""
    listed = {
        str(image.image_id): {"training_image_id": image.other_image_id, "shared_persons": image.persons}
        for image in shared
    }
    return json.dumps(listed, indent=1).encode() + b"\n"


def _chunks(storage: Storage, uri: str) -> Iterator[list[dict[str, Any]]]:
    pending, has_annotations = [], False
    for key, record in iter_records(storage, uri):
        has_annotations = has_annotations or key == "annotations"
        if key == "annotations" and record.get("keypoints"):
            pending.append(record)
        if len(pending) == _ROWS_PER_CHUNK:
            yield pending
            pending = []
    if not has_annotations:
        raise ConfigurationError(
            f"{uri}: has no list of annotations; expected an annotation file in COCO's form"
        )
    if pending:
        yield pending


def _marks(rows: list[list[float]], uri: str) -> list[bytes | None]:
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
