"""Reads predictions, record by record, into columns, and leaves out what cannot be scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posrefine.errors import ConfigurationError
from posrefine.metrics.findings import Finding, FindingLog
from posrefine.metrics.persons import Detections
from posrefine.metrics.records import int64_of, numbers, whose_joints

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

    def add(self, records: Sequence[Record]) -> None:
        """Some entries; ConfigurationError where a field is missing or is not what it should be."""
        usual = self._usual(records)
        for record in () if usual else records:
            self._check(record)
        self._pending += records if usual else [record for record in records if self._is_counted(record)]
        if len(self._pending) >= _ROWS_PER_CHUNK:
            self._flush()

    def _usual(self, records: Sequence[Record]) -> bool:
        """Whether all entries are persons' with as many joints as wanted."""
        length, category = 3 * self.num_joints, self.category_id
        try:
            return all(
                record["category_id"] == category
                and type(record["keypoints"]) is list
                and len(record["keypoints"]) == length
                for record in records
            ) and all("score" in record and "image_id" in record for record in records)
        except (KeyError, TypeError):
            return False

    def _check(self, record: Record) -> None:
        if not isinstance(record, Mapping):
            raise ConfigurationError(f"predictions: an entry is {record!r:.80}, expected an object")
        if not record.keys() >= _FIELDS:
            missing = sorted(_FIELDS - record.keys())[0]
            raise ConfigurationError(
                f"predictions: an entry of a COCO results list has no {missing!r}: {record}"
            )
        if record["category_id"] == self.category_id and not isinstance(record["keypoints"], list):
            raise ConfigurationError(
                f"{_name(record)}: keypoints are {record['keypoints']!r:.80}, expected a list"
            )

    def _is_counted(self, record: Record) -> bool:
        """Whether a checked entry is of a person, with as many joints as wanted; what is not is noted."""
        if record["category_id"] != self.category_id:
            self._log.add("predictions_of_other_categories", f"category {record['category_id']}")
            return False
        count = len(record["keypoints"])
        if count != 3 * self.num_joints:
            self._log.add("predictions_wrong_joint_count", f"{count} numbers{whose_joints(count / 3)}")
        return count == 3 * self.num_joints

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
                f"predictions: none of {wrong} entries has {self.num_joints} joints as the annotations do, "
                f"but for example {self._log.examples('predictions_wrong_joint_count')[0]}; predictions and "
                "annotations are of different skeletons"
            )
        usable, findings = drop_not_finite(joined)
        return usable, self._log.findings() + findings

    def _flush(self) -> None:
        records, self._pending = self._pending, []
        try:
            self._chunks.append(self._columns(records))
        except (ValueError, TypeError, OverflowError):
            # One of them is not what it should be; alone, it says which.
            for record in records:
                _image_id(record)
                for name, shape in (("keypoints", (3 * self.num_joints,)), ("score", ())):
                    what = f"{_name(record)}: {name}"
                    if numbers(record[name], what).shape != shape:
                        raise ConfigurationError(
                            f"{what} is {record[name]!r:.80}, expected {shape[0] if shape else 'a'} number"
                            f"{'s' if shape else ''}"
                        ) from None
            raise

    def _columns(self, records: Sequence[Record]) -> Detections:
        keypoints = np.array([record["keypoints"] for record in records], np.float64)
        image_ids = [record["image_id"] for record in records]
        if not all(type(image_id) is int for image_id in image_ids):
            image_ids = [_image_id(record) for record in records]
        return Detections(
            image_ids=np.array(image_ids, np.int64),
            keypoints=keypoints.reshape(len(records), self.num_joints, 3)[..., :2].copy(),
            scores=np.array([record["score"] for record in records], np.float64),
        )


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
    return int64_of(record["image_id"], f"{_name(record)}: image_id")


def _name(record: Record) -> str:
    """An entry, for a refusal."""
    return f"predictions: entry of image {record['image_id']!r:.80}"
