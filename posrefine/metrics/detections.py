"""Reads predictions, record by record, into columns, and leaves out what cannot be scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posrefine.errors import ConfigurationError
from posrefine.metrics.findings import Finding, FindingLog
from posrefine.metrics.persons import Detections

__all__ = ["DetectionsBuilder", "drop_not_finite", "drop_unknown_images"]

Record = Mapping[str, Any]
_FIELDS = {"image_id", "category_id", "keypoints", "score"}
_ROWS_PER_CHUNK = 8192


@dataclass
class DetectionsBuilder:
    """Collects entries of a COCO results list: image_id, category_id, keypoints [x, y, score] * K, score.

    Attributes:
        num_joints: K of the annotations.
        category_id: of persons; entries of other categories are left out.
    """

    num_joints: int
    category_id: int = 1
    _pending: list[Record] = field(default_factory=list)
    _chunks: list[Detections] = field(default_factory=list)
    _log: FindingLog = field(default_factory=FindingLog)

    def add(self, record: Record) -> None:
        """One entry; ConfigurationError where a field is missing."""
        if not record.keys() >= _FIELDS:
            missing = sorted(_FIELDS - record.keys())[0]
            raise ConfigurationError(
                f"predictions: an entry of a COCO results list has no {missing!r}: {record}"
            )
        if record["category_id"] != self.category_id:
            self._log.add("predictions_of_other_categories", f"category {record['category_id']}")
        elif len(record["keypoints"]) != 3 * self.num_joints:
            self._log.add("predictions_wrong_joint_count", f"{len(record['keypoints'])} numbers")
        else:
            self._pending.append(record)
            if len(self._pending) == _ROWS_PER_CHUNK:
                self._flush()

    def build(self) -> tuple[Detections, list[Finding]]:
        """All usable detections in the order given, and what was left out.

        Raises:
            ConfigurationError: no entry has the wanted number of joints.
        """
        self._flush()
        chunks, self._chunks = self._chunks, []
        joined = Detections(
            np.concatenate([chunk.image_ids for chunk in chunks]),
            np.concatenate([chunk.keypoints for chunk in chunks]),
            np.concatenate([chunk.scores for chunk in chunks]),
        )
        if (wrong := self._log.count("predictions_wrong_joint_count")) and len(joined) == 0:
            raise ConfigurationError(
                f"predictions: none of {wrong} entries has {self.num_joints} joints as the annotations do; "
                "predictions and annotations are of different skeletons"
            )
        usable, findings = drop_not_finite(joined)
        return usable, self._log.findings() + findings

    def _flush(self) -> None:
        records, self._pending = self._pending, []
        keypoints = np.array([record["keypoints"] for record in records], np.float64)
        chunk = Detections(
            image_ids=np.array([_image_id(record) for record in records], np.int64),
            keypoints=keypoints.reshape(-1, self.num_joints, 3)[..., :2].copy(),
            scores=np.array([record["score"] for record in records], np.float64),
        )
        self._chunks.append(chunk)


def drop_not_finite(detections: Detections) -> tuple[Detections, list[Finding]]:
    """Leave out detections with NaN or infinity; the reference tools would call them perfect matches."""
    usable = np.isfinite(detections.keypoints).all(axis=(1, 2)) & np.isfinite(detections.scores)
    return _keep(detections, usable, "predictions_not_finite")


def drop_unknown_images(
    detections: Detections, image_ids: NDArray[np.int64]
) -> tuple[Detections, list[Finding]]:
    """Leave out detections of images that are not among `image_ids`, the annotated ones."""
    return _keep(detections, np.isin(detections.image_ids, image_ids), "predictions_of_unknown_images")


def _keep(detections: Detections, usable: NDArray[np.bool_], code: str) -> tuple[Detections, list[Finding]]:
    if usable.all():
        return detections, []
    concerned = [f"image {image_id}" for image_id in detections.image_ids[~usable]]
    return detections.select(usable), Finding.of(code, concerned)


def _image_id(record: Record) -> int:
    image_id = record["image_id"]
    if not isinstance(image_id, int):
        raise ConfigurationError(
            f"predictions: image_id {image_id!r} is not an integer, as image ids must be"
        )
    return image_id
