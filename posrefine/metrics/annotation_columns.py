"""Annotation records as columns: some thousand at a time, so that a file is never in memory as objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posrefine.errors import ConfigurationError
from posrefine.metrics.oks_rules import OksRules
from posrefine.metrics.records import int64_of

__all__ = ["AnnotationColumns", "columns_of", "is_list"]

Record = Mapping[str, Any]


@dataclass(frozen=True)
class AnnotationColumns:
    """Some annotations, in the order of the file; all zero and unlabelled where not `finite`.

    Attributes:
        image: [N] int64, id of the image.
        category: [N] int64, id of the category.
        ids: [N] int64, of the annotations.
        finite: [N] bool, whether all its numbers are.
        keypoints: [N, K, 2] float64, x then y, image px.
        labelled: [N, K] bool, visibility flag above 0.
        boxes: [N, 4] float64, left, top, width, height, image px.
        areas: [N] float64, square px, by the protocol's rule.
        is_crowd: [N] bool.
        num_keypoints: [N] int64, what the file says; -1 where it does not.
    """

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
    def joined(chunks: Sequence[AnnotationColumns]) -> AnnotationColumns:
        """All chunks, one after the other."""
        return AnnotationColumns(
            *(
                np.concatenate([getattr(chunk, column.name) for chunk in chunks])
                for column in fields(AnnotationColumns)
            )
        )

    def take(self, order: NDArray[np.int64]) -> AnnotationColumns:
        """The annotations at these positions, in that order."""
        if np.array_equal(order, np.arange(len(self.ids))):
            return self
        return AnnotationColumns(*(getattr(self, column.name)[order] for column in fields(AnnotationColumns)))


def columns_of(records: Sequence[Record], rules: OksRules) -> AnnotationColumns:
    """Columns of records whose keypoints are lists of the right length, or empty for none labelled.

    Raises:
        ConfigurationError: a record lacks what scoring needs, or an id or a box is none.
        ValueError, TypeError, OverflowError: another value is no number.
    """
    boxes, share = _boxes(records), rules.box_area_share
    areas = _column(records, "area", np.float64) if share is None else boxes[:, 2] * boxes[:, 3] * share
    points = _keypoints(records, rules.skeleton.num_joints)
    finite = np.isfinite(points).all(axis=(1, 2)) & np.isfinite(boxes).all(axis=1) & np.isfinite(areas)
    return AnnotationColumns(
        image=_ids(records, "image_id"),
        category=_ids(records, "category_id"),
        ids=_ids(records, "id"),
        finite=finite,
        keypoints=np.where(finite[:, None, None], points[..., :2], 0.0),
        labelled=(points[..., 2] > 0) & finite[:, None],
        boxes=np.where(finite[:, None], boxes, 0.0),
        areas=np.where(finite, areas, 0.0),
        is_crowd=np.array([bool(record.get("iscrowd")) for record in records], bool),
        num_keypoints=np.array([_num_keypoints(record) for record in records], np.int64),
    )


def _field(record: Record, name: str) -> Any:  # noqa: ANN401
    value = record.get(name)
    if value is None:
        raise ConfigurationError(f"has no {name!r}, which scoring needs")
    return value


def _fields(records: Sequence[Record], name: str) -> list[Any]:
    values = [record.get(name) for record in records]
    return values if None not in values else [_field(record, name) for record in records]


def _column(records: Sequence[Record], name: str, dtype: type[np.generic]) -> NDArray[Any]:
    return np.array(_fields(records, name), dtype).reshape(len(records))


def _ids(records: Sequence[Record], name: str) -> NDArray[np.int64]:
    values = _fields(records, name)
    if not all(type(value) is int for value in values):
        values = [int64_of(value, f"{name} of an annotation") for value in values]
    return np.array(values, np.int64)


def _num_keypoints(record: Record) -> int:
    """-1 where the file does not say; null is not 0, and so the reference tools take it for some."""
    number = record.get("num_keypoints", -1)
    return 1 if number is None else int(number)


def is_list(value: object, length: int) -> bool:
    """Whether it is a list of that length, or an empty one: a person without labelled joints, as in the
    reference tools."""
    return isinstance(value, list) and len(value) in (length, 0)


def _boxes(records: Sequence[Record]) -> NDArray[np.float64]:
    boxes = _fields(records, "bbox")
    for box in boxes:
        if not isinstance(box, list) or len(box) != 4:
            raise ConfigurationError(f"has the bbox {box!r:.80}, expected 4 numbers")
    return np.array(boxes, np.float64).reshape(len(boxes), 4)


def _keypoints(records: Sequence[Record], joints: int) -> NDArray[np.float64]:
    blank = [0.0] * (3 * joints)
    rows = [record["keypoints"] or blank for record in records]
    return np.array(rows, np.float64).reshape(len(rows), joints, 3)
