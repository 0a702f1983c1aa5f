"""Equality with the reference tools on random detections over real annotations."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.coco_reference import crowdpose_numbers, noisy_results, pycocotools_numbers, read_json
from support.evaluation import detections, ground_truth, numbers_of, our_numbers
from support.shared import shared_path

from posrefine.metrics.match_table import MatchTable, match_images
from posrefine.metrics.oks_rules import OKS_RULES

_QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@cache
def _coco() -> dict[str, Any]:
    return read_json(shared_path("data", "annotations", "coco_val2017_538_person_keypoints.json"))


@cache
def _crowdpose() -> dict[str, Any]:
    return read_json(shared_path("data", "crowdpose", "crowdpose_val.json"))


@pytest.mark.parametrize("seed", range(3))
def test_all_538_images_give_pycocotools_ten_numbers(seed: int) -> None:
    results = noisy_results(_coco(), seed)

    assert our_numbers(_coco(), results) == pytest.approx(pycocotools_numbers(_coco(), results), abs=1e-12)


def test_crowdpose_val_gives_the_nine_numbers_of_its_tool() -> None:
    annotations = _part(_crowdpose(), seed=0, images=600)
    results = noisy_results(annotations, 0)

    ours = our_numbers(annotations, results, "crowdpose")

    assert ours == pytest.approx(crowdpose_numbers(annotations, results), abs=1e-12)


@_QUICK
@given(seed=st.integers(0, 2**31), images=st.integers(1, 6))
def test_small_sets_with_odd_annotations_give_pycocotools_ten_numbers(seed: int, images: int) -> None:
    annotations = _with_oddities(_part(_coco(), seed, images), seed)
    results = noisy_results(annotations, seed)

    assert our_numbers(annotations, results) == pytest.approx(
        pycocotools_numbers(annotations, results), abs=1e-12
    )


@_QUICK
@given(seed=st.integers(0, 2**31), images=st.integers(1, 6))
def test_small_crowdpose_sets_give_the_nine_numbers_of_its_tool(seed: int, images: int) -> None:
    annotations = _with_oddities(_part(_crowdpose(), seed, images), seed)
    results = noisy_results(annotations, seed)

    assert our_numbers(annotations, results, "crowdpose") == pytest.approx(
        crowdpose_numbers(annotations, results), abs=1e-12
    )


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), parts=st.integers(1, 9))
def test_tables_of_parts_merge_to_the_table_of_the_whole(seed: int, parts: int) -> None:
    truth, _ = ground_truth(_part(_coco(), seed, 40))
    predicted, _ = detections(noisy_results(_part(_coco(), seed, 40), seed))
    whole = match_images(truth, predicted, OKS_RULES["coco"])
    rng = np.random.default_rng(seed)
    group = rng.integers(0, parts, len(truth.image_ids))
    tables = [
        match_images(truth.select(np.flatnonzero(group == part)), predicted, OKS_RULES["coco"])
        for part in rng.permutation(parts)
    ]

    merged = MatchTable.merge([*tables, tables[0]])

    for name, column in vars(whole).items():
        np.testing.assert_array_equal(getattr(merged, name), column, err_msg=name)
    assert numbers_of(merged, truth) == numbers_of(whole, truth)


def _part(annotations: dict[str, Any], seed: int, images: int) -> dict[str, Any]:
    """Some images, in random order, with their persons."""
    rng = np.random.default_rng(seed)
    chosen = rng.choice(len(annotations["images"]), images, replace=False)
    entries = [annotations["images"][index] for index in chosen]
    ids = {entry["id"] for entry in entries}
    persons = [person for person in annotations["annotations"] if person["image_id"] in ids]
    return copy.deepcopy({**annotations, "images": entries, "annotations": persons})


def _with_oddities(annotations: dict[str, Any], seed: int) -> dict[str, Any]:
    """Crowds, persons without joints, doubled persons, tiny persons, an annotation id of 0, split borders."""
    rng = np.random.default_rng(seed)
    persons = annotations["annotations"]
    for person in list(persons):
        kind = rng.choice(["as is", "crowd", "blank", "doubled", "tiny"], p=[0.6, 0.1, 0.1, 0.1, 0.1])
        if kind == "crowd":
            person["iscrowd"] = 1
        elif kind == "blank":
            person["keypoints"], person["num_keypoints"] = [0] * len(person["keypoints"]), 0
        elif kind == "doubled":
            persons.append({**copy.deepcopy(person), "id": 10**9 + len(persons)})
        elif kind == "tiny" and "area" in person:
            person["area"] = float(rng.choice([0.0, 32.0**2, 96.0**2]))
    if persons and rng.random() < 0.3:
        persons[int(rng.integers(len(persons)))]["id"] = 0
    for image in annotations["images"]:
        if "crowdIndex" in image and rng.random() < 0.3:
            image["crowdIndex"] = float(rng.choice([0.0, 0.2, 0.8, 1.0]))
    return annotations
