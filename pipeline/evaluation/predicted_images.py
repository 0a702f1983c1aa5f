"""Rows of a run, as the evaluation wants them."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.ground_truth.annotations import Annotations
from pipeline.ground_truth.image_names import NO_IMAGE, FoundImages
from pipeline.ground_truth.swapped_sizes import are_swapped
from pipeline.output.schema import MODEL
from posrefine.errors import ConfigurationError, ImageStatus
from posrefine.metrics import Detections, Finding, GroundTruth, OksRules
from posrefine.metrics.detections import drop_not_finite

__all__ = ["IMAGE_COLUMNS", "PERSON_COLUMNS", "PredictedImages", "predicted_images"]

IMAGE_COLUMNS = ["image_key", "image_id", "width", "height", "exif_orientation", "status", "source"]
PERSON_COLUMNS = ["score", "keypoints"]


@dataclass(frozen=True)
class PredictedImages:
    """Annotated images that a part of a run holds, each once.

    Attributes:
        found: their N keys and ids, in the order of the rows; without any key where a results file names ids.
        image_ids: [N] int64, likewise.
        failed: [N] bool, images without keypoints because something was wrong with them.
        detections: persons of these images.
        findings: what the checks noticed.
    """

    found: FoundImages | None
    image_ids: NDArray[np.int64]
    failed: NDArray[np.bool_]
    detections: Detections
    findings: tuple[Finding, ...]


def predicted_images(
    images: pa.Table,
    persons: pa.StructArray,
    persons_per_image: NDArray[np.int64],
    annotations: Annotations,
    rules: OksRules,
) -> PredictedImages:
    """Find out which annotated images the rows are, and check them.

    Args:
        images: N rows with `IMAGE_COLUMNS`, and the run's metadata.
        persons: rows with `PERSON_COLUMNS`, image by image.
        persons_per_image: [N].
        annotations: what the images may be.
        rules: what the persons' joints must be.

    Raises:
        ConfigurationError: the run's skeleton is not the protocol's, or file names do not tell which image is
            which.
    """
    _require_skeleton(images, rules)
    stated = np.asarray(pc.fill_null(images["image_id"], NO_IMAGE), np.int64)
    found = annotations.find(images["image_key"].to_pylist(), stated)
    keys, ids, truth = found.keys, found.settled(), annotations.truth
    known = ids != NO_IMAGE
    first = np.zeros(len(ids), bool)
    first[np.unique(ids, return_index=True)[1]] = True
    counted = known & first
    persons_found = Detections(
        image_ids=np.repeat(ids, persons_per_image),
        keypoints=_keypoints(persons, rules),
        scores=np.asarray(pc.struct_field(persons, "score"), np.float64),
    ).select(np.repeat(counted, persons_per_image))
    usable, not_finite = drop_not_finite(persons_found)
    findings = [
        *Finding.of("images_not_annotated", keys[~known]),
        *Finding.of("duplicate_predictions", keys[known & ~first]),
        *not_finite,
        *Finding.of("images_corrected", keys[counted & (np.asarray(images["source"], object) != MODEL)]),
        *_check_frames(images, ids, counted, truth, rules),
    ]
    failed = np.asarray(pc.not_equal(images["status"], ImageStatus.OK.value))
    return PredictedImages(found.select(counted), ids[counted], failed[counted], usable, tuple(findings))


def _require_skeleton(images: pa.Table, rules: OksRules) -> None:
    name = (images.schema.metadata or {}).get(b"posrefine.skeleton", b"").decode()
    if name and name != rules.skeleton.name:
        raise ConfigurationError(
            f"predictions: the run's skeleton is {name}, protocol {rules.name} wants "
            f"{rules.skeleton.name}; choose the other protocol and its annotations"
        )


def _keypoints(persons: pa.StructArray, rules: OksRules) -> NDArray[np.float64]:
    """[D, K, 2] float64, image px."""
    joints = rules.skeleton.num_joints
    lists = pc.struct_field(persons, "keypoints")
    lengths = np.asarray(pc.list_value_length(lists))
    if np.any(lengths != 2 * joints):
        raise ConfigurationError(
            f"predictions: a person has {lengths[lengths != 2 * joints][0]} keypoint numbers, expected "
            f"{2 * joints} for {joints} joints; choose the protocol of the run's skeleton"
        )
    return np.asarray(pc.list_flatten(lists), np.float64).reshape(-1, joints, 2)


def _check_frames(
    images: pa.Table,
    ids: NDArray[np.int64],
    counted: NDArray[np.bool_],
    truth: GroundTruth,
    rules: OksRules,
) -> list[Finding]:
    """Images whose keypoints may be in another frame than the annotations."""
    keys = np.array(images["image_key"].to_pylist(), object)[counted]
    columns = [pc.fill_null(images[name], 0) for name in ("width", "height")]
    sizes = np.stack([np.asarray(column, np.int64) for column in columns], axis=1)[counted]
    stated = truth.sizes[np.searchsorted(truth.image_ids, ids[counted])]
    both = (sizes > 0).all(axis=1) & (stated > 0).all(axis=1)
    differ = both & (sizes != stated).any(axis=1)
    orientations = np.asarray(images["exif_orientation"])[counted]
    swapped = differ & are_swapped(sizes, stated, turned=orientations >= 5)
    rotated = orientations > 1
    applied = (
        json.loads((images.schema.metadata or {}).get(b"posrefine.settings", b"{}")).get("exif") == "apply"
    )
    exif = rotated if rules.name == "coco" and applied else np.zeros_like(rotated)
    return [
        *Finding.of("exif_rule_applied", keys[exif]),
        *Finding.of("swapped_sizes", keys[swapped & ~exif]),
        *Finding.of("sizes_differ", keys[differ & ~swapped & ~exif]),
    ]
