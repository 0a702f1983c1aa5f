"""Persons of one image matched with those that a reviewer labelled in it, and their OKS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.output.schema import persons_as_found
from pipeline.output.stored_poses import stored_persons
from pipeline.review.same_persons import OksMatrix, box_areas_px2, oks_matrix, same_persons
from posrefine.metrics.oks import object_keypoint_similarity
from posrefine.poses import Poses
from posrefine.skeletons import Skeleton

__all__ = ["POOR_OKS", "MatchedPersons", "ReviewerView", "match_persons"]

POOR_OKS = 0.75
"""A person found with less than this is an error: the line of AP75."""
IN_BOX_OKS = 0.5
"""From it a person is the one of whom a box alone was drawn."""


@dataclass(frozen=True, eq=False)
class ReviewerView:
    """What one reviewer said about an image.

    Attributes:
        sha256: of the image.
        reviewer: who looked.
        generation: whose unit the image is in.
        size: width and height, px.
        keypoints: [M, K, 2] float32, image px.
        visibility: [M, K] int8, COCO's.
        boxes_xywh: [M, 4] float32, image px.
        found: the network's persons, all of them.
    """

    sha256: str
    reviewer: str
    generation: int
    size: tuple[int, int]
    keypoints: NDArray[np.float32]
    visibility: NDArray[np.int8]
    boxes_xywh: NDArray[np.float32]
    found: Poses

    @staticmethod
    def of(table: pa.Table, row: int, reviewer: str, joints: int) -> ReviewerView:
        """A row of an import, which has `HUMAN_SCHEMA`."""
        at = table.slice(row, 1)
        people = stored_persons(at["persons"].combine_chunks().flatten(), joints)
        found = stored_persons(persons_as_found(at["found"].combine_chunks()).flatten(), joints)
        values = {name: at[name][0].as_py() for name in ("sha256", "generation", "width", "height")}
        return ReviewerView(
            values["sha256"],
            reviewer,
            values["generation"],
            (values["width"], values["height"]),
            people.poses.keypoints,
            people.labels.visibility,
            people.labels.boxes_xywh,
            found.poses,
        )


@dataclass(frozen=True, eq=False)
class MatchedPersons:
    """Persons of one view of an image held against the labelled ones of another.

    Attributes:
        oks: [M] float64, of each labelled person and the one that is the same; 0 for those nobody is.
        is_found: [M] bool, whether somebody is the same.
        joint_oks: [M, K] float64, of single joints; NaN where not labelled or not found.
        areas_px2: [M] float64, of the labelled persons.
        unmatched: persons that no labelled one is, and none of which a box alone was drawn.
    """

    oks: NDArray[np.float64]
    is_found: NDArray[np.bool_]
    joint_oks: NDArray[np.float64]
    areas_px2: NDArray[np.float64]
    unmatched: int

    @property
    def errors(self) -> int:
        """Persons missed, found badly, and found where nobody is."""
        return int((self.oks < POOR_OKS).sum()) + self.unmatched

    @staticmethod
    def together(parts: Sequence[MatchedPersons]) -> MatchedPersons:
        """Of one image, that was matched several times."""
        return MatchedPersons(
            np.concatenate([one.oks for one in parts]),
            np.concatenate([one.is_found for one in parts]),
            np.concatenate([one.joint_oks for one in parts]),
            np.concatenate([one.areas_px2 for one in parts]),
            sum(one.unmatched for one in parts),
        )


def match_persons(
    keypoints: NDArray[np.float32],
    view: ReviewerView,
    skeleton: Skeleton,
    visibility: NDArray[np.int8] | None = None,
) -> MatchedPersons:
    """Hold persons against what a reviewer said.

    Args:
        keypoints: [N, K, 2] the persons', image px.
        view: the reviewer's; of persons with a box alone nobody is missed, and who is there is no error.
        skeleton: of both.
        visibility: [N, K] where the persons are a reviewer's too.
    """
    every = oks_matrix(
        keypoints, view.keypoints, view.visibility, view.boxes_xywh, skeleton.sigmas, visibility
    )
    has_joints = (view.visibility > 0).any(axis=1)
    every = OksMatrix(every.joint_oks[:, has_joints], every.oks[:, has_joints])
    same = same_persons(every.oks)
    is_found = np.array([row is not None for row in same], bool)
    rows, columns = np.array([row for row in same if row is not None], np.int64), np.flatnonzero(is_found)
    oks = np.zeros(len(same))
    oks[columns] = every.oks[rows, columns]
    joint_oks = np.full((len(same), skeleton.num_joints), np.nan)
    joint_oks[columns] = every.joint_oks[rows, columns]
    others = np.delete(keypoints, rows, axis=0)
    unmatched = len(others) - _in_boxes(others, view.boxes_xywh[~has_joints], skeleton)
    return MatchedPersons(oks, is_found, joint_oks, box_areas_px2(view.boxes_xywh[has_joints]), unmatched)


def _in_boxes(keypoints: NDArray[np.float32], boxes_xywh: NDArray[np.float32], skeleton: Skeleton) -> int:
    """How many of [N, K, 2] persons are those of which [B, 4] boxes alone were drawn, as COCO's rules say."""
    persons, boxes = len(keypoints), len(boxes_xywh)
    pairs, joints = persons * boxes, skeleton.num_joints
    oks = object_keypoint_similarity(
        np.repeat(keypoints.astype(np.float64), boxes, axis=0),
        np.zeros((pairs, joints, 2)),
        np.zeros((pairs, joints), bool),
        np.tile(boxes_xywh.astype(np.float64), (persons, 1)),
        np.tile(box_areas_px2(boxes_xywh), persons),
        np.array(skeleton.sigmas),
    )
    same = same_persons(oks.reshape(persons, boxes), least_oks=IN_BOX_OKS)
    return sum(row is not None for row in same)
