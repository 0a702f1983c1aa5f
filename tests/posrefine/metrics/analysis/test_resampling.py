"""Intervals and comparisons."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.annotated import annotated_people, results_of
from support.evaluation import detections, ground_truth

from posrefine.errors import ConfigurationError
from posrefine.metrics import OKS_RULES, MatchTable, accumulate, match_images, metrics_of
from posrefine.metrics.accumulate import curves_of, verdicts
from posrefine.metrics.analysis.resampling import bootstrap_intervals, compare

RULES = OKS_RULES["coco"]


def table_of(images: int, noise_px: float = 5.0, seed: int = 0, protocol: str = "coco") -> MatchTable:
    annotations = annotated_people(images, skeleton=protocol)
    truth, _ = ground_truth(annotations, protocol)
    found, _ = detections(results_of(annotations, noise_px=noise_px, seed=seed), protocol)
    return match_images(truth, found, OKS_RULES[protocol])


def nowhere(table: MatchTable) -> np.ndarray:
    return np.full(len(table), np.nan)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1))
def test_an_image_of_weight_n_counts_as_n_images(seed: int) -> None:
    table = table_of(12, seed=seed % 7)
    weights = np.random.default_rng(seed).integers(0, 4, len(table))
    copies = [
        replace(part, image_ids=part.image_ids + 1000 * copy)
        for copy in range(4)
        for part in [table.select(np.flatnonzero(weights > copy))]
    ]

    weighted = curves_of(verdicts(table), table, RULES, weights)

    whole = accumulate(MatchTable.merge(copies), RULES)
    np.testing.assert_allclose(weighted.precision, whole.precision, atol=1e-12)
    np.testing.assert_allclose(weighted.recall, whole.recall, atol=1e-12)


@pytest.mark.parametrize("protocol", ["coco", "crowdpose"])
def test_intervals_enclose_the_numbers_and_narrow_with_more_images(protocol: str) -> None:
    rules, widths = OKS_RULES[protocol], []
    for images in (30, 300):
        table = table_of(images, protocol=protocol)
        crowd_index = np.random.default_rng(0).random(len(table))
        numbers = metrics_of(table, crowd_index, rules).model_dump()
        intervals = bootstrap_intervals(table, crowd_index, rules, draws=200)
        assert intervals.keys() == numbers.keys()
        assert all(intervals[name].low <= numbers[name] <= intervals[name].high for name in numbers)
        widths.append(intervals["AP"].high - intervals["AP"].low)
    assert widths[1] < widths[0]


def test_equal_seeds_give_equal_intervals() -> None:
    table = table_of(30)

    first, second, third = (
        bootstrap_intervals(table, nowhere(table), RULES, draws=20, seed=seed) for seed in (1, 1, 2)
    )

    assert first == second != third


def test_intervals_of_many_images_from_subsets_agree_with_the_spread_of_fresh_samples() -> None:
    """Standard errors fall with the root of the number of images, here 40 times as many."""
    small = table_of(150)
    copies = [replace(small, image_ids=small.image_ids + 1000 * copy) for copy in range(40)]
    big = MatchTable.merge(copies)

    narrow = bootstrap_intervals(big, nowhere(big), RULES, draws=100)["AR"]
    wide = bootstrap_intervals(small, nowhere(small), RULES, draws=400)["AR"]

    ratio = (wide.high - wide.low) / (narrow.high - narrow.low)
    assert np.sqrt(40) * 0.7 < ratio < np.sqrt(40) * 1.4


def test_nothing_to_be_found_has_the_interval_minus_one() -> None:
    table = table_of(20)
    empty = replace(table, positives=np.zeros_like(table.positives))

    intervals = bootstrap_intervals(empty, nowhere(empty), RULES, draws=5)

    assert {(interval.low, interval.high) for interval in intervals.values()} == {(-1, -1)}


def test_a_run_does_not_differ_from_itself() -> None:
    table = table_of(40)

    found = compare(table, table, nowhere(table), RULES, draws=50)["AP"]

    assert (found.difference, found.low, found.high, found.p_value) == (0, 0, 0, 1)


def test_a_clearly_better_run_is_told_from_a_worse_one() -> None:
    good, bad = table_of(80, noise_px=2.0), table_of(80, noise_px=10.0)

    found = compare(good, bad, nowhere(good), RULES, draws=200)["AP"]

    assert found.difference == pytest.approx(found.this - found.other)
    assert 0 < found.low < found.difference < found.high
    assert found.p_value < 0.02


def test_runs_over_other_images_are_not_compared() -> None:
    table = table_of(20)

    with pytest.raises(ConfigurationError, match="19"):
        compare(table, table.select(np.arange(19)), nowhere(table), RULES)
