"""What came back exactly as it was given out is known, and any change of it is noticed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.rows import some_poses

from pipeline.review.given import given_of, is_as_given
from pipeline.review.labels import ReviewedPerson
from posrefine.poses import Poses

SIZE = (640, 480)
FOUND = some_poses(3, 5)


def back(found: Poses, *, kept: bool) -> list[ReviewedPerson]:
    """The persons as a tool hands them back that rounds, and keeps what was given or not."""
    people = []
    for number, pose in enumerate(found):
        inside = ((pose.keypoints >= 0) & (pose.keypoints <= SIZE)).all(axis=1)
        points = np.where(inside[:, None], pose.keypoints.astype(float).round(2), 0)
        people.append(
            ReviewedPerson(
                points.astype(np.float32),
                np.where(inside, 2, 0).astype(np.int8),
                None,
                number,
                given_of(points, inside) if kept else None,
            )
        )
    return people


def unchanged(persons: list[ReviewedPerson], shown: int = 3, found: Poses = FOUND) -> bool:
    return is_as_given(persons, shown, found, [person.person for person in persons], SIZE)


@pytest.mark.parametrize("kept", [True, False])
def test_what_was_only_rounded_is_as_given(kept: bool):
    people = back(FOUND, kept=kept)
    assert unchanged(people)
    assert unchanged(people[::-1])


@pytest.mark.parametrize("kept", [True, False])
@settings(max_examples=60, deadline=None)
@given(
    person=st.integers(0, 2),
    joint=st.integers(0, 16),
    way=st.sampled_from(["moved", "hidden", "deleted", "swapped", "removed", "added", "drawn anew"]),
    px=st.sampled_from([-30.0, -0.1, 0.1, 2.5]),
)
def test_any_change_is_noticed(kept: bool, person: int, joint: int, way: str, px: float):
    people = back(FOUND, kept=kept)
    keypoints, visibility = people[person].keypoints.copy(), people[person].visibility.copy()
    joint = int(np.flatnonzero(visibility)[joint % (visibility > 0).sum()])
    if way == "moved":
        keypoints[joint, 1] += px
    elif way == "hidden":
        visibility[joint] = 1
    elif way == "deleted":
        keypoints[joint], visibility[joint] = 0, 0
    elif way == "swapped":
        other = int(np.flatnonzero(visibility)[-1 if joint != np.flatnonzero(visibility)[-1] else 0])
        keypoints[[joint, other]] = keypoints[[other, joint]]
    people[person] = dataclasses.replace(people[person], keypoints=keypoints, visibility=visibility)
    if way == "removed":
        del people[person]
    elif way == "added":
        people.append(dataclasses.replace(people[person], person=None, given=None))
    elif way == "drawn anew":
        people[person] = dataclasses.replace(people[person], person=None, given=None)
    assert not unchanged(people)


def test_nobody_is_as_given_where_nobody_was_shown():
    assert unchanged([], 0)
    assert unchanged([], 0, Poses.none(17))
    assert not unchanged([], 3)


def test_what_another_network_has_found_since_does_not_matter_to_what_was_given():
    assert unchanged(back(FOUND, kept=True), 3, some_poses(2, 9))
    assert not unchanged(back(FOUND, kept=False), 3, some_poses(3, 9))


@pytest.mark.parametrize("given", ["", "x", "17", "17 nan 3", "1 2 3 4"])
def test_what_a_tool_has_damaged_is_no_proof_that_nothing_was_changed(given: str):
    people = back(FOUND, kept=True)
    people[1] = dataclasses.replace(people[1], given=given)
    assert not unchanged(people)
