"""Scores of parts."""

from __future__ import annotations

import numpy as np
import pytest
from support.annotated import annotated_people, results_of
from support.evaluation import detections, ground_truth

from posrefine.metrics import OKS_RULES, accumulate, match_images, metrics_of
from posrefine.metrics.accumulate import mean_valid
from posrefine.metrics.analysis.breakdown import (
    by_crowd_index,
    by_joints,
    by_people,
    by_size,
    joint_groups,
    match_joint_group,
)
from posrefine.skeletons import COCO, CROWDPOSE

RULES = OKS_RULES["coco"]


@pytest.fixture(scope="module")
def scene():
    annotations = annotated_people(60, most_people=10)
    return ground_truth(annotations)[0], detections(results_of(annotations, noise_px=6.0))[0]


def test_sizes_repeat_the_benchmarks_numbers(scene) -> None:
    table = match_images(*scene, RULES)
    numbers = metrics_of(table, np.full(len(table), np.nan), RULES)

    everyone, medium, large = by_size(table, RULES)

    assert (numbers.AP, numbers.APm, numbers.APl) == (everyone.AP, medium.AP, large.AP)
    assert everyone.persons == medium.persons + large.persons


def test_every_person_is_in_one_part_by_people(scene) -> None:
    table = match_images(*scene, RULES)

    parts = by_people(table, RULES)

    assert sum(part.persons for part in parts) == table.positives[:, 0].sum()
    assert [part.name for part in parts] == ["1", "2", "3-4", "5-8", "9+"]


def test_every_image_is_in_one_fifth_of_crowdedness_also_above_one(scene) -> None:
    table = match_images(*scene, RULES)
    crowd_index = np.linspace(0, 1.3, len(table))

    parts = by_crowd_index(table, crowd_index, RULES)

    assert sum(part.images for part in parts) == len(table)
    assert by_crowd_index(table, np.full(len(table), np.nan), RULES) == ()


@pytest.mark.parametrize("skeleton", [COCO, CROWDPOSE])
def test_every_joint_is_in_one_group_with_its_mirror(skeleton) -> None:
    groups = joint_groups(skeleton)

    joints = [joint for group in groups.values() for joint in group]
    assert sorted(joints) == list(range(skeleton.num_joints))
    assert all({skeleton.flip_order[joint] for joint in group} == set(group) for group in groups.values())


def test_noise_on_one_group_lowers_that_group_alone(scene) -> None:
    truth, found = scene
    ankles = list(joint_groups(COCO)["ankle"])
    noisy = found.select(np.arange(len(found)))
    noisy.keypoints[:, ankles] += 200.0

    before, after = (
        {
            part.name: part.AP
            for part in by_joints(
                {n: match_joint_group(truth, d, RULES, j) for n, j in joint_groups(COCO).items()}, RULES
            )
        }
        for d in (found, noisy)
    )

    assert after.pop("ankle") < 0.1 < before.pop("ankle")
    assert after == before


def test_a_group_of_all_joints_scores_as_the_whole(scene) -> None:
    whole = accumulate(match_images(*scene, RULES), RULES)

    group = match_joint_group(*scene, RULES, tuple(range(17)))

    assert mean_valid(accumulate(group, RULES).precision) == mean_valid(whole.precision[:, :, 0])
