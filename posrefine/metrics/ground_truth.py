"""Reads COCO-form annotations, record by record, into columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posrefine.errors import ConfigurationError
from posrefine.metrics.findings import Finding, FindingLog
from posrefine.metrics.ground_truth_checks import check_ground_truth
from posrefine.metrics.persons import GroundTruth
from posrefine.metrics.protocol import Protocol

__all__ = ["GroundTruthBuilder", "person_category"]

Record = Mapping[str, Any]
_ROWS_PER_CHUNK = 8192


@dataclass(frozen=True)
class _Rows:
    """Columns of some annotations, in the order of the file; all zero and unlabelled where not `finite`."""

    image: NDArray[np.int64]
    category: NDArray[np.int64]
    ids: NDArray[np.int64]
    finite: NDArray[np.bool_]
    keypoints: NDArray[np.float64]
    labelled: NDArray[np.bool_]
    boxes: NDArray[np.float64]
    areas: NDArray[np.float64]
    is_crowd: NDArray[np.bool_]
    num_keypoints: NDArray[np.int64]

    @staticmethod
    def joined(chunks: Sequence[_Rows]) -> _Rows:
        return _Rows(
            *(np.concatenate([getattr(chunk, column.name) for chunk in chunks]) for column in fields(_Rows))
        )

    def take(self, order: NDArray[np.int64]) -> _Rows:
        if np.array_equal(order, np.arange(len(self.ids))):
            return self
        return _Rows(*(getattr(self, column.name)[order] for column in fields(_Rows)))


@dataclass
class GroundTruthBuilder:
    """Collects images, annotations and categories in any order; `build` checks and sorts them.

    Memory grows with the columns alone: records are turned into arrays a few thousand at a time.
    """

    protocol: Protocol
    _images: dict[int, tuple[float, int, int]] = field(default_factory=dict)
    _categories: list[Record] = field(default_factory=list)
    _pending: list[Record] = field(default_factory=list)
    _chunks: list[_Rows] = field(default_factory=list)
    _log: FindingLog = field(default_factory=FindingLog)

    def add_image(self, record: Record) -> None:
        """One entry of `images`; ConfigurationError without an integer id."""
        image_id = record.get("id")
        if not isinstance(image_id, int):
            raise ConfigurationError(
                f"annotations: an image has id {image_id!r}, expected an integer: {record}"
            )
        if image_id in self._images:
            self._log.add("duplicate_images", image_id)
        crowd_index = record.get("crowdIndex")
        self._images[image_id] = (
            float("nan") if crowd_index is None else float(crowd_index),
            int(record.get("width") or 0),
            int(record.get("height") or 0),
        )

    def add_category(self, record: Record) -> None:
        """One entry of `categories`."""
        self._categories.append(record)

    def add_person(self, record: Record) -> None:
        """One entry of `annotations`; ConfigurationError (here or later) where scoring misses a field."""
        self._pending.append(record)
        if len(self._pending) == _ROWS_PER_CHUNK:
            self._flush()

    def build(self) -> tuple[GroundTruth, int, list[Finding]]:
        """The ground truth of the person category, the id of that category, and what the checks found."""
        self._flush()
        category = person_category(self._categories, self.protocol)
        rows = _Rows.joined(self._chunks)
        self._chunks.clear()
        image_ids = np.array(sorted(self._images), np.int64)
        order = np.flatnonzero(self._counts(rows, image_ids, category))
        order = order[np.argsort(rows.image[order], kind="stable")]
        truth = self._truth(rows.take(order), image_ids)
        return truth, category, self._log.findings() + check_ground_truth(truth, self.protocol)

    def _flush(self) -> None:
        records, self._pending = self._pending, []
        boxes, share = _boxes(records), self.protocol.box_area_share
        areas = _column(records, "area", np.float64) if share is None else boxes[:, 2] * boxes[:, 3] * share
        points = _keypoints(records, self.protocol.skeleton.num_joints)
        finite = np.isfinite(points).all(axis=(1, 2)) & np.isfinite(boxes).all(axis=1) & np.isfinite(areas)
        rows = _Rows(
            image=_column(records, "image_id", np.int64),
            category=_column(records, "category_id", np.int64),
            ids=_column(records, "id", np.int64),
            finite=finite,
            keypoints=np.where(finite[:, None, None], points[..., :2], 0.0),
            labelled=(points[..., 2] > 0) & finite[:, None],
            boxes=np.where(finite[:, None], boxes, 0.0),
            areas=np.where(finite, areas, 0.0),
            is_crowd=np.array([bool(record.get("iscrowd")) for record in records], bool),
            num_keypoints=np.array([record.get("num_keypoints", -1) for record in records], np.int64),
        )
        self._chunks.append(rows)

    def _counts(self, rows: _Rows, image_ids: NDArray[np.int64], category: int) -> NDArray[np.bool_]:
        """Which annotations are scored: those of listed images and of the person category."""
        known = np.isin(rows.image, image_ids)
        person = rows.category == category
        for annotation in rows.ids[~known]:
            self._log.add("annotations_of_unknown_images", annotation)
        for annotation in rows.ids[known & ~person]:
            self._log.add("annotations_of_other_categories", annotation)
        counted: NDArray[np.bool_] = known & person
        return counted

    def _truth(self, rows: _Rows, image_ids: NDArray[np.int64]) -> GroundTruth:
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


def person_category(categories: Sequence[Record], protocol: Protocol) -> int:
    """Id of the category whose persons are scored; 1, as in COCO, if the file lists no category at all.

    Raises:
        ConfigurationError: several categories and none called `person`, or one with other joints than the
            protocol's.
    """
    if not categories:
        return 1
    persons = [record for record in categories if record.get("name") == "person"] or list(categories)
    if len(persons) > 1:
        found = [record.get("name") for record in persons]
        raise ConfigurationError(
            f"annotations: which of the categories {found} is `person`? Keep one of that name"
        )
    names, wanted = persons[0].get("keypoints"), protocol.skeleton.joints
    if names is not None and tuple(names) != wanted:
        raise ConfigurationError(
            f"annotations: the person category has the {len(names)} joints {', '.join(names)}; protocol "
            f"{protocol.name} wants the {len(wanted)} joints {', '.join(wanted)}; "
            "choose the other protocol or another file"
        )
    return int(_field(persons[0], "id"))


def _field(record: Record, name: str) -> Any:  # noqa: ANN401
    value = record.get(name)
    if value is None:
        raise ConfigurationError(
            f"annotations: entry {record.get('id')!r} has no {name!r}, which scoring needs"
        )
    return value


def _fields(records: Sequence[Record], name: str) -> list[Any]:
    values = [record.get(name) for record in records]
    return values if None not in values else [_field(record, name) for record in records]


def _column(records: Sequence[Record], name: str, dtype: type[np.generic]) -> NDArray[Any]:
    return np.array(_fields(records, name), dtype)


def _boxes(records: Sequence[Record]) -> NDArray[np.float64]:
    boxes = _fields(records, "bbox")
    for record, box in zip(records, boxes, strict=True):
        if len(box) != 4:
            raise ConfigurationError(
                f"annotations: bbox of entry {record.get('id')!r} is {box}, expected 4 numbers"
            )
    return np.array(boxes, np.float64).reshape(-1, 4)


def _keypoints(records: Sequence[Record], joints: int) -> NDArray[np.float64]:
    rows = _fields(records, "keypoints")
    for record, row in zip(records, rows, strict=True):
        if len(row) != 3 * joints:
            raise ConfigurationError(
                f"annotations: entry {record.get('id')!r} has {len(row)} keypoint numbers, expected "
                f"{3 * joints} for {joints} joints; choose the protocol of this skeleton"
            )
    return np.array(rows, np.float64).reshape(-1, joints, 3)
