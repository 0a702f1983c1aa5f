"""Poses out of the columns that they are stored in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.output.schema import MODEL, HumanLabels, ImageResult
from posrefine.errors import ImageStatus
from posrefine.poses import Poses

__all__ = [
    "POSE_COLUMNS",
    "RESULT_COLUMNS",
    "StoredPersons",
    "image_results",
    "stored_persons",
    "stored_poses",
    "whole_column",
]


def whole_column(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """A column in one piece."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


POSE_COLUMNS = ["score", "bbox", "keypoints", "keypoint_scores", "spread_px", "visibility"]
RESULT_COLUMNS = (
    "image_key", "image_id", "uri", "width", "height", "exif_orientation", "decode_factor",
    "sha256", "status", "error", "source",
)  # fmt: skip


class StoredPersons(NamedTuple):
    """Persons of many images, one after the other.

    Attributes:
        poses: of all of them; a spread that was not stored is NaN.
        labels: of all of them; they mean something for corrected images alone.
    """

    poses: Poses
    labels: HumanLabels

    def part(self, persons: slice) -> StoredPersons:
        """Some of them."""
        poses = self.poses
        return StoredPersons(
            Poses(
                poses.keypoints[persons],
                poses.keypoint_scores[persons],
                poses.scores[persons],
                poses.spread_px[persons],
            ),
            self.labels.select(persons),
        )


def image_results(
    images: pa.Table, everyone: StoredPersons, persons_per_image: NDArray[np.int64]
) -> Iterator[ImageResult]:
    """Rows as the run's commit took them, or as people corrected them; poses of failed images are None."""
    starts = np.concatenate([[0], np.cumsum(persons_per_image)])
    columns = {name: images[name] for name in RESULT_COLUMNS}
    for row in range(images.num_rows):
        values = {name: column[row].as_py() for name, column in columns.items()}
        values["status"] = status = ImageStatus(values["status"])
        poses, labels = everyone.part(slice(starts[row], starts[row + 1]))
        yield ImageResult(
            **values,
            poses=poses if status is ImageStatus.OK else None,
            labels=None if values["source"] == MODEL else labels,
        )


def stored_persons(persons: pa.StructArray, joints: int) -> StoredPersons:
    """All persons of a file, which have `POSE_COLUMNS`."""
    flags = pc.struct_field(persons, "visibility")
    visibility = np.zeros((len(persons), joints), np.int8)
    visibility[np.asarray(pc.is_valid(flags), bool)] = np.asarray(pc.list_flatten(flags), np.int8).reshape(
        -1, joints
    )
    boxes_xywh = _floats(pc.struct_field(persons, "bbox")).reshape(-1, 4)
    return StoredPersons(stored_poses(persons, joints), HumanLabels(visibility, boxes_xywh))


def stored_poses(persons: pa.StructArray, joints: int) -> Poses:
    """The poses of all persons of a file as one; a spread that was not stored is NaN."""
    spreads = pc.struct_field(persons, "spread_px")
    spread_px = np.full((len(persons), joints), np.nan, np.float32)
    spread_px[np.asarray(pc.is_valid(spreads), bool)] = _floats(spreads).reshape(-1, joints)
    return Poses(
        keypoints=_floats(pc.struct_field(persons, "keypoints")).reshape(-1, joints, 2),
        keypoint_scores=_floats(pc.struct_field(persons, "keypoint_scores")).reshape(-1, joints),
        scores=np.asarray(pc.struct_field(persons, "score"), np.float32),
        spread_px=spread_px,
    )


def _floats(lists: pa.ListArray) -> NDArray[np.float32]:
    """The values of all lists, one after the other."""
    return np.asarray(pc.list_flatten(lists), np.float32)
