"""OKS on its own."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posrefine.metrics import OKS_RULES, object_keypoint_similarity

SIGMAS = OKS_RULES["coco"].sigmas
seeds = st.integers(0, 2**32 - 1)


def similarity(detected, annotated, labelled, boxes=None, areas=None):
    count = len(annotated)
    boxes = np.tile([100.0, 100.0, 50.0, 80.0], (count, 1)) if boxes is None else boxes
    areas = np.full(count, 2000.0) if areas is None else areas
    return object_keypoint_similarity(detected, annotated, labelled, boxes, areas, SIGMAS)


@given(seed=seeds)
def test_a_pose_has_all_in_common_with_itself_and_less_with_any_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pose, labelled = rng.uniform(0, 500, (3, 17, 2)), rng.random((3, 17)) < 0.5
    labelled[:, 0] = True

    assert np.all(similarity(pose, pose, labelled) == 1.0)
    other = similarity(pose + rng.normal(0, 5, pose.shape), pose, labelled)
    assert np.all((other >= 0) & (other < 1))


@given(seed=seeds)
def test_joints_without_label_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pose, labelled = rng.uniform(0, 500, (4, 17, 2)), rng.random((4, 17)) < 0.6
    labelled[:, 3] = True
    found = pose + rng.normal(0, 5, pose.shape)
    moved = np.where(labelled[..., None], found, rng.uniform(-1e4, 1e4, pose.shape))

    np.testing.assert_array_equal(similarity(found, pose, labelled), similarity(moved, pose, labelled))


def test_one_joint_off_by_its_tolerance_costs_what_the_definition_says() -> None:
    pose, labelled = np.zeros((1, 17, 2)), np.zeros((1, 17), bool)
    labelled[0, 9] = True
    off = pose.copy()
    off[0, 9, 0] = 2 * SIGMAS[9] * np.sqrt(2000.0)

    assert similarity(off, pose, labelled)[0] == pytest.approx(np.exp(-0.5))


def test_a_person_without_labels_accepts_all_within_its_doubled_box() -> None:
    blank = np.zeros((2, 17), bool)
    inside = np.full((17, 2), [60.0, 250.0])
    outside = np.full((17, 2), [40.0, 250.0])

    found = similarity(np.stack([inside, outside]), np.zeros((2, 17, 2)), blank)

    assert found[0] == 1.0
    assert found[1] == pytest.approx(np.exp(-(100.0 / (2 * SIGMAS) ** 2 / 2000.0 / 2)).mean())
