"""Reads COCO-form annotations, record by record, into columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posrefine.errors import ConfigurationError
from posrefine.metrics.annotation_columns import AnnotationColumns, columns_of, is_list
from posrefine.metrics.categories import person_category
from posrefine.metrics.findings import Finding, FindingLog
from posrefine.metrics.ground_truth_checks import check_ground_truth
from posrefine.metrics.oks_rules import OksRules
from posrefine.metrics.persons import GroundTruth
from posrefine.metrics.records import int64_of, numbers, whose_joints

__all__ = ["GroundTruthBuilder"]

Record = Mapping[str, Any]
_ROWS_PER_CHUNK = 8192
_NAN = float("nan")


@dataclass(frozen=True)
class _Unreadable:
    """An annotation that cannot be scored; it does no harm as long as it is no person's."""

    name: str
    image: object
    category: object
    reason: str

    @staticmethod
    def of(record: Record, reason: str) -> _Unreadable:
        name = f"{record.get('id')!r:.80}"
        reason = reason.removeprefix(f"annotations: entry {name} ")
        return _Unreadable(
            name,
            _hashable(record.get("image_id")),
            record.get("category_id"),
            f"annotations: entry {name} {reason}",
        )


def _hashable(value: object) -> object:
    return value if isinstance(value, int | str | float) else None


@dataclass
class GroundTruthBuilder:
    """Collects images, annotations and categories in any order; `build` checks and sorts them.

    Memory grows with the columns alone: records are turned into arrays a few thousand at a time.
    """

    rules: OksRules
    _images: dict[int, tuple[float, int, int]] = field(default_factory=dict)
    _categories: list[Record] = field(default_factory=list)
    _pending: list[Record] = field(default_factory=list)
    _chunks: list[AnnotationColumns] = field(default_factory=list)
    _unreadable: list[_Unreadable] = field(default_factory=list)
    _log: FindingLog = field(default_factory=FindingLog)

    def add_images(self, records: Sequence[Record]) -> None:
        """Entries of `images`; ConfigurationError for one without an integer id."""
        _require_objects(records, "images")
        for record in records:
            image_id = int64_of(record.get("id"), "annotations: the id of an image")
            if image_id in self._images:
                self._log.add("duplicate_images", image_id)
            crowd_index = record.get("crowdIndex")
            self._images[image_id] = (
                _NAN if crowd_index is None else _number(crowd_index, "crowdIndex", image_id),
                _size(record.get("width"), "width", image_id),
                _size(record.get("height"), "height", image_id),
            )

    def add_categories(self, records: Sequence[Record]) -> None:
        """Entries of `categories`."""
        _require_objects(records, "categories")
        self._categories += records

    def add_persons(self, records: Sequence[Record]) -> None:
        """Entries of `annotations`; `build` refuses those of persons that cannot be scored."""
        _require_objects(records, "annotations")
        self._pending += records
        if len(self._pending) >= _ROWS_PER_CHUNK:
            self._flush()

    def build(self) -> tuple[GroundTruth, int, list[Finding]]:
        """The ground truth of the person category, the id of that category, and what the checks found.

        Raises:
            ConfigurationError: no category or several may be the person's, or a person cannot be scored.
        """
        self._flush()
        category = person_category(self._categories, self.rules)
        for entry in self._unreadable:
            if entry.category in (category, None) and (entry.image is None or entry.image in self._images):
                raise ConfigurationError(entry.reason)
        rows = AnnotationColumns.joined(self._chunks)
        self._chunks.clear()
        image_ids = np.array(sorted(self._images), np.int64)
        order = np.flatnonzero(self._counts(rows, image_ids, category))
        order = order[np.argsort(rows.image[order], kind="stable")]
        for entry in self._unreadable:
            known = entry.image in self._images
            code = "annotations_of_other_categories" if known else "annotations_of_unknown_images"
            self._log.add(code, entry.name)
        truth = self._truth(rows.take(order), image_ids)
        return truth, category, self._log.findings() + check_ground_truth(truth, self.rules)

    def _flush(self) -> None:
        """Turn the pending records into columns; those that cannot be read may be no persons."""
        records, self._pending = self._pending, []
        joints = self.rules.skeleton.num_joints
        usual = [is_list(record.get("keypoints"), 3 * joints) for record in records]
        self._unreadable += [
            self._judge(record) for record, fits in zip(records, usual, strict=True) if not fits
        ]
        records = list(compress(records, usual))
        try:
            self._chunks.append(columns_of(records, self.rules))
        except (ConfigurationError, ValueError, TypeError, OverflowError):
            for record in records:
                try:
                    self._chunks.append(columns_of([record], self.rules))
                except (ConfigurationError, ValueError, TypeError, OverflowError) as error:
                    self._unreadable.append(_Unreadable.of(record, str(error)))

    def _judge(self, record: Record) -> _Unreadable:
        """Why the keypoints of a record cannot be read."""
        joints, found = self.rules.skeleton.num_joints, record.get("keypoints")
        if found is None:
            reason = "has no 'keypoints', which scoring needs; the file may hold boxes and segments alone"
        elif not isinstance(found, list):
            reason = f"has keypoints {found!r:.80}, expected a list of {3 * joints} numbers"
        else:
            reason = (
                f"has {len(found)} keypoint numbers{whose_joints(len(found) / 3)}, expected {3 * joints} for "
                f"{joints} joints; choose the protocol of this skeleton"
            )
        return _Unreadable.of(record, reason)

    def _counts(
        self, rows: AnnotationColumns, image_ids: NDArray[np.int64], category: int
    ) -> NDArray[np.bool_]:
        """Which annotations are scored: those of listed images and of the person category."""
        known = np.isin(rows.image, image_ids)
        person = rows.category == category
        for annotation in rows.ids[~known]:
            self._log.add("annotations_of_unknown_images", annotation)
        for annotation in rows.ids[known & ~person]:
            self._log.add("annotations_of_other_categories", annotation)
        counted: NDArray[np.bool_] = known & person
        return counted

    def _truth(self, rows: AnnotationColumns, image_ids: NDArray[np.int64]) -> GroundTruth:
        visible = rows.labelled.any(axis=1)
        empty = np.where(rows.num_keypoints >= 0, rows.num_keypoints == 0, ~visible)
        for annotation in rows.ids[~rows.finite]:
            self._log.add("annotations_not_finite", annotation)
        for annotation in rows.ids[rows.finite & (empty == visible)]:
            self._log.add("num_keypoints_contradicts_flags", annotation)
        images = [self._images[int(image_id)] for image_id in image_ids]
        return GroundTruth(
            image_ids=image_ids,
            crowd_index=np.array([image[0] for image in images], np.float64),
            sizes=np.array([image[1:] for image in images], np.int32).reshape(-1, 2),
            person_image=np.searchsorted(image_ids, rows.image),
            person_ids=rows.ids,
            keypoints=rows.keypoints,
            labelled=rows.labelled,
            boxes=rows.boxes,
            areas=rows.areas,
            is_crowd=rows.is_crowd,
            ignored=rows.is_crowd | empty | ~rows.finite,
        )


def _size(value: object, name: str, image_id: int) -> int:
    """A side of an image, 0 where the file states none."""
    size = value if type(value) is int else _number(value or 0, name, image_id)
    return int(size) if 0 <= size < 2**31 else 0


def _number(value: object, name: str, image_id: int) -> float:
    return float(numbers(value, f"{name} of image {image_id} in the annotations"))


def _require_objects(records: Sequence[Record], listed: str) -> None:
    for record in records:
        if type(record) is not dict and not isinstance(record, Mapping):
            raise ConfigurationError(
                f"annotations: among `{listed}` stands {record!r:.80}, expected an object"
            )
