"""Rows of a run, as the evaluation wants them."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.image_index import NO_IMAGE, ImageIndex
from posrefine.errors import ConfigurationError, ImageStatus
from posrefine.metrics import Detections, Finding, GroundTruth, Protocol
from posrefine.metrics.detections import drop_not_finite

__all__ = ["IMAGE_COLUMNS", "PERSON_COLUMNS", "PredictedImages", "predicted_images"]

IMAGE_COLUMNS = ["image_key", "image_id", "width", "height", "exif_orientation", "status"]
PERSON_COLUMNS = ["score", "keypoints"]


@dataclass(frozen=True)
class PredictedImages:
    """Annotated images that a part of a run holds, each once.

    Attributes:
        image_ids: [N] int64, in the order of the rows.
        failed: [N] bool, images without keypoints because something was wrong with them.
        detections: persons of these images.
        findings: what the checks noticed.
    """

    image_ids: NDArray[np.int64]
    failed: NDArray[np.bool_]
    detections: Detections
    findings: tuple[Finding, ...]


def predicted_images(
    images: pa.Table,
    persons: pa.StructArray,
    persons_per_image: NDArray[np.int64],
    truth: GroundTruth,
    index: ImageIndex,
    protocol: Protocol,
) -> PredictedImages:
    """Find out which annotated images the rows are, and check them.

    Args:
        images: N rows with `IMAGE_COLUMNS`, and the run's metadata.
        persons: rows with `PERSON_COLUMNS`, image by image.
        persons_per_image: [N].
        truth: annotated images.
        index: their file names.
        protocol: what the persons' joints must be.

    Raises:
        ConfigurationError: the run's skeleton is not the protocol's.
    """
    _require_skeleton(images, protocol)
    ids = _annotated_ids(images, truth, index)
    keys = np.array(images["image_key"].to_pylist(), object)
    known = ids != NO_IMAGE
    first = np.zeros(len(ids), bool)
    first[np.unique(ids, return_index=True)[1]] = True
    counted = known & first
    found = Detections(
        image_ids=np.repeat(ids, persons_per_image),
        keypoints=_keypoints(persons, protocol),
        scores=np.asarray(pc.struct_field(persons, "score"), np.float64),
    ).select(np.repeat(counted, persons_per_image))
    usable, not_finite = drop_not_finite(found)
    findings = [
        *Finding.of("images_not_annotated", keys[~known]),
        *Finding.of("duplicate_predictions", keys[known & ~first]),
        *not_finite,
        *_check_frames(images, ids, counted, truth, protocol),
    ]
    failed = np.asarray(pc.not_equal(images["status"], ImageStatus.OK.value))
    return PredictedImages(ids[counted], failed[counted], usable, tuple(findings))


def _require_skeleton(images: pa.Table, protocol: Protocol) -> None:
    name = (images.schema.metadata or {}).get(b"posrefine.skeleton", b"").decode()
    if name and name != protocol.skeleton.name:
        raise ConfigurationError(
            f"predictions: the run's skeleton is {name}, protocol {protocol.name} wants "
            f"{protocol.skeleton.name}; choose the other protocol and its annotations"
        )


def _keypoints(persons: pa.StructArray, protocol: Protocol) -> NDArray[np.float64]:
    """[D, K, 2] float64, image px."""
    joints = protocol.skeleton.num_joints
    lists = pc.struct_field(persons, "keypoints")
    lengths = np.asarray(pc.list_value_length(lists))
    if np.any(lengths != 2 * joints):
        raise ConfigurationError(
            f"predictions: a person has {lengths[lengths != 2 * joints][0]} keypoint numbers, expected "
            f"{2 * joints} for {joints} joints; choose the protocol of the run's skeleton"
        )
    return np.asarray(pc.list_flatten(lists), np.float64).reshape(-1, joints, 2)


def _annotated_ids(images: pa.Table, truth: GroundTruth, index: ImageIndex) -> NDArray[np.int64]:
    """[N] ids by file name, or else by the run's own image id where the annotations know it.

    Names go first: a run that took its ids from numeric file names may mean other images by the same numbers.
    """
    by_name = index.find(images["image_key"].to_pylist())
    stated = np.asarray(pc.fill_null(images["image_id"], NO_IMAGE), np.int64)
    stated = np.where(np.isin(stated, truth.image_ids), stated, NO_IMAGE)
    return np.where(by_name == NO_IMAGE, stated, by_name)


def _check_frames(
    images: pa.Table,
    ids: NDArray[np.int64],
    counted: NDArray[np.bool_],
    truth: GroundTruth,
    protocol: Protocol,
) -> list[Finding]:
    """Images whose keypoints may be in another frame than the annotations."""
    keys = np.array(images["image_key"].to_pylist(), object)[counted]
    columns = [pc.fill_null(images[name], 0) for name in ("width", "height")]
    sizes = np.stack([np.asarray(column, np.int64) for column in columns], axis=1)[counted]
    stated = truth.sizes[np.searchsorted(truth.image_ids, ids[counted])]
    both = (sizes > 0).all(axis=1) & (stated > 0).all(axis=1)
    differ = both & (sizes != stated).any(axis=1)
    swapped = differ & (sizes == stated[:, ::-1]).all(axis=1)
    rotated = np.asarray(images["exif_orientation"])[counted] > 1
    applied = (
        json.loads((images.schema.metadata or {}).get(b"posrefine.settings", b"{}")).get("exif") == "apply"
    )
    if protocol.name == "coco" and applied:
        exif, swapped = rotated, swapped & ~rotated
    else:
        exif = np.zeros_like(rotated)
    return [
        *Finding.of("exif_rule_applied", keys[exif]),
        *Finding.of("swapped_sizes", keys[swapped]),
        *Finding.of("sizes_differ", keys[differ & ~swapped & ~exif]),
    ]
