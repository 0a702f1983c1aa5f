"""AP of parts: sizes, numbers of people, crowdedness, groups of joints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from posrefine.metrics.accumulate import accumulate, mean_valid
from posrefine.metrics.match_table import MatchTable, match_images
from posrefine.metrics.oks_rules import OksRules
from posrefine.metrics.persons import Detections, GroundTruth
from posrefine.skeletons import Skeleton

__all__ = [
    "PartScore",
    "by_crowd_index",
    "by_joints",
    "by_people",
    "by_size",
    "joint_groups",
    "match_joint_group",
]

_PEOPLE = (("1", 1, 1), ("2", 2, 2), ("3-4", 3, 4), ("5-8", 5, 8), ("9+", 9, 10**9))
_CROWD_STEPS = 5
_FACE = ("nose", "eye", "ear")


class PartScore(BaseModel):
    """Scores of one part of the persons; -1 where there are none to be found.

    Attributes:
        name: of the part.
        images: images that can hold such persons.
        persons: persons to be found.
        AP: mean over the OKS thresholds.
        AR: likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    images: int
    persons: int
    AP: float
    AR: float


def by_size(table: MatchTable, rules: OksRules) -> tuple[PartScore, ...]:
    """Persons of each of the protocol's area ranges."""
    return tuple(_score(span.name, table, rules, area) for area, span in enumerate(rules.area_ranges))


def by_people(table: MatchTable, rules: OksRules) -> tuple[PartScore, ...]:
    """Images by how many persons are to be found in them; images with none are in no part."""
    people = table.positives[:, 0]
    return tuple(
        _score(name, table.select(np.flatnonzero((people >= low) & (people <= high))), rules)
        for name, low, high in _PEOPLE
    )


def by_crowd_index(
    table: MatchTable, crowd_index: NDArray[np.float64], rules: OksRules
) -> tuple[PartScore, ...]:
    """Images by fifths of CrowdPose's crowdIndex, [I] float64; empty where no image has one."""
    if np.isnan(crowd_index).all():
        return ()
    # The benchmark's own file has values above 1; they belong to the most crowded fifth.
    step = np.clip(np.floor(crowd_index * _CROWD_STEPS), 0, _CROWD_STEPS - 1)
    names = ("0.0-0.2", "0.2-0.4", "0.4-0.6", "0.6-0.8", "0.8+")
    return tuple(
        _score(name, table.select(np.flatnonzero(step == low)), rules) for low, name in enumerate(names)
    )


def joint_groups(skeleton: Skeleton) -> dict[str, tuple[int, ...]]:
    """Positions of the joints of one kind, left and right together; nose, eyes and ears are the face."""
    groups: dict[str, tuple[int, ...]] = {}
    for position, joint in enumerate(skeleton.joints):
        kind = joint.removeprefix("left_").removeprefix("right_")
        group = "face" if kind in _FACE else kind
        groups[group] = (*groups.get(group, ()), position)
    return groups


def match_joint_group(
    truth: GroundTruth, detections: Detections, rules: OksRules, joints: tuple[int, ...]
) -> MatchTable:
    """Matches by the OKS of these joints alone, persons of all sizes.

    Persons without a label on any of the joints are ignored, as persons without any label are in the whole.
    """
    chosen = list(joints)
    labelled = truth.labelled[:, chosen]
    part = replace(
        truth,
        keypoints=truth.keypoints[:, chosen],
        labelled=labelled,
        ignored=truth.ignored | ~labelled.any(axis=1),
    )
    seen = Detections(detections.image_ids, detections.keypoints[:, chosen], detections.scores)
    rules = replace(rules, joints=joints, area_ranges=rules.area_ranges[:1])
    return match_images(part, seen, rules)


def by_joints(tables: Mapping[str, MatchTable], rules: OksRules) -> tuple[PartScore, ...]:
    """Groups of joints, from merged tables of `match_joint_group` by name."""
    return tuple(_score(name, table, rules) for name, table in tables.items())


def _score(name: str, table: MatchTable, rules: OksRules, area: int = 0) -> PartScore:
    curves = accumulate(table, rules)
    return PartScore(
        name=name,
        images=len(table),
        persons=int(table.positives[:, area].sum()),
        AP=mean_valid(curves.precision[:, :, area]),
        AR=mean_valid(curves.recall[:, area]),
    )
