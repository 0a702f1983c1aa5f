"""Drift is named where a generation is unlike those before, and seldom where chance alone made it so."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from support.html_page import parse_page
from support.memory_store import Life, MemoryStorage
from support.rows import result, some_poses
from support.standing import Standing, picture
from support.stepped_store import Store

from pipeline.driver.sync_gauges import SyncGauges
from pipeline.output.drift import Drift, drift_between
from pipeline.output.measures import Histogram, Measures
from pipeline.output.rank_test import rank_test, two_sided
from pipeline.output.schema import unit_table
from pipeline.output.status import read_status
from pipeline.output.status_text import status_lines
from pipeline.report import report_run
from pipeline.storage import Storage, StorageOptions


def generation(
    chance: np.random.Generator, images: int, *, persons: float = 1.5, failing: float = 0.003
) -> Measures:
    """Measures of made-up images: most with nobody or one, some with many."""
    failed = chance.random(images) < failing
    counts = chance.negative_binomial(0.7, 0.7 / (0.7 + persons), images)[~failed]
    scores = chance.beta(6, 3, images)[~failed]
    return Measures(
        persons=Histogram.of("persons", counts),
        score=Histogram.of("score", scores[counts > 0]),
        failed=Histogram.of("failed", failed),
    )


def named(drifts: Sequence[Drift]) -> list[tuple[int, str]]:
    return [(drift.generation, moved.measure) for drift in drifts for moved in drift.moved]


@settings(deadline=None, max_examples=25, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1),
    most=st.integers(5, 1500),
    persons=st.floats(0.02, 4),
    failing=st.floats(0, 0.1),
)
def test_chance_alone_is_seldom_named(seed: int, most: int, persons: float, failing: float):
    chance = np.random.default_rng(seed)
    nights = [
        (number, generation(chance, int(chance.integers(1, most + 1)), persons=persons, failing=failing))
        for number in range(1, 31)
    ]
    # At one false alarm in a thousand generations, two of thirty would be one case in 2,500.
    assert len({number for number, _ in named(drift_between(nights))}) <= 1


@settings(deadline=None, max_examples=15, derandomize=True)
@given(seed=st.integers(0, 2**32 - 1), nights=st.integers(2, 20))
def test_a_real_shift_is_named_and_what_did_not_move_is_not(seed: int, nights: int):
    chance = np.random.default_rng(seed)
    before = [(number, generation(chance, 600)) for number in range(1, nights + 1)]
    fewer = [*before, (nights + 1, generation(chance, 600, persons=0.6))]
    broken = [*before, (nights + 1, generation(chance, 600, failing=0.06))]
    assert named(drift_between(fewer)[-1:]) == [(nights + 1, "persons")]
    assert named(drift_between(broken)[-1:]) == [(nights + 1, "failed")]


def test_nights_that_always_differ_are_no_news_where_the_same_difference_would_be_among_equal_ones():
    chance = np.random.default_rng(3)
    rates = [1.0, 2.0, 1.4, 0.9, 2.2, 1.6, 0.8, 1.9, 1.2, 2.1, 1.0, 1.7]
    uneven = [(number, generation(chance, 500, persons=rate)) for number, rate in enumerate([*rates, 0.9])]
    even = [(number, generation(chance, 500)) for number in range(12)]
    assert not drift_between(uneven)[-1].moved
    assert drift_between([*even, (12, generation(chance, 500, persons=0.9))])[-1].moved


BINS = arrays.arrays(np.int64, 6, elements=st.integers(0, 60))


@given(now=BINS, before=BINS)
def test_ranks_are_compared_as_if_every_value_was_held_against_every_other(
    now: np.ndarray, before: np.ndarray
):
    found = rank_test(now.tolist(), before.tolist())
    if found is None:
        return
    ones, others = (np.repeat(np.arange(6), counts) for counts in (now, before))
    above = (ones[:, None] > others).sum() + (ones[:, None] == others).sum() / 2
    assert found.superiority == pytest.approx(above / (len(ones) * len(others)))
    other_way = rank_test(before.tolist(), now.tolist())
    assert other_way is not None
    assert other_way.z == pytest.approx(-found.z)


@given(hits=st.integers(0, 12), drawn=st.integers(1, 12), more=st.integers(0, 30), rest=st.integers(1, 80))
def test_failures_are_tested_exactly_however_few_they_are(hits: int, drawn: int, more: int, rest: int):
    hits, more = min(hits, drawn), min(more, rest)
    found = rank_test([drawn - hits, hits], [rest - more, more])
    everything, all_hits = drawn + rest, hits + more
    if all_hits in (0, everything):
        assert found is None
        return
    chances = [
        math.comb(all_hits, k) * math.comb(everything - all_hits, drawn - k) / math.comb(everything, drawn)
        for k in range(drawn + 1)
    ]
    above = hits * everything > drawn * all_hits
    tail = sum(chances[hits:]) if above else sum(chances[: hits + 1])
    assert found is not None
    assert two_sided(found.z) == pytest.approx(min(1.0, 2 * tail), rel=1e-6)


@given(persons=st.lists(st.integers(-1, 4), max_size=12), cut=st.integers(0, 12))
def test_measures_of_parts_add_up_to_those_of_the_whole(persons: list[int], cut: int):
    rows = unit_table(
        "u",
        [result(n, None if count < 0 else some_poses(count, n, one_view=n % 3 == 0))
         for n, count in enumerate(persons)],
    )  # fmt: skip
    whole = Measures.of(rows, 0.3)
    parts = Measures.of(rows.slice(0, cut), 0.3) + Measures.of(rows.slice(cut), 0.3)
    for (name, one), (_, other) in zip(whole, parts, strict=True):
        assert one.counts == other.counts, name
        assert one.total == pytest.approx(other.total), name
    images = [result for result in persons if result >= 0]
    assert whole.failed.images == len(persons)
    assert whole.side_px.images == whole.persons.images == len(images)


def test_a_sync_of_broken_files_says_so_everywhere(tmp_path: Path):
    standing = Standing(Storage(), f"{tmp_path}/in", f"{tmp_path}/out")
    photographs = Path(standing.input)
    photographs.mkdir()
    for number in range(40):
        (photographs / f"{number:02d}.png").write_bytes(picture(number))
    assert not standing.sync().drift
    for number in range(10):
        (photographs / f"b{number}.png").write_bytes(picture(-1 - number % 7))
    outcome = standing.sync()

    assert [moved.measure for moved in outcome.drift] == ["failed"]
    assert (outcome.drift[0].now, outcome.drift[0].before) == (1, 0)
    words = "failed images 1, before 0 (p = "
    assert any(line.startswith(f"drift     {words}") for line in outcome.lines())
    status = read_status(standing.output)
    assert any(f"drift: {words}" in line for line in status_lines(status, outcome.finished_at))
    told = status.summary(outcome.finished_at).generations
    assert [len(one.drift) for one in told] == [0, 1]
    assert told[0].means["side_px"] == 4
    page = parse_page(Path(report_run(standing.output_uri, f"{tmp_path}/report", Storage())).read_text())
    assert "Generation 2 is unlike those before." in page.text

    (photographs / "another.png").write_bytes(picture(99))
    assert not standing.sync().drift
    assert not read_status(standing.output).generations[-1].drift


def test_gauges_of_drift_are_one_series_a_measure_whatever_number_of_generations(
    monkeypatch: pytest.MonkeyPatch,
):
    standing = Standing(MemoryStorage(StorageOptions(), Store(), Life()), "s3://p/in", "s3://r/out")
    store = standing.storage.store  # type: ignore[attr-defined]
    counts = []
    for night in range(4):
        for number in range(12):
            seed = -1 - number if night == 3 else 10 * number + night
            store.objects[f"s3://p/in/{night}-{number:02d}.png"] = picture(seed)
        standing.sync()
        pushed = []
        monkeypatch.setattr(SyncGauges, "_push", lambda _, registry, to=pushed: to.append(registry))
        tables = standing.output.counts()
        assert tables is not None
        SyncGauges("gateway", standing.output_uri).up_to_date(tables)
        samples = [
            sample
            for metric in pushed[0].collect()
            for sample in metric.samples
            if sample.name.startswith("posrefine_generation")
        ]
        counts.append(len(samples))
        drifted = {s.labels["measure"] for s in samples if s.name.endswith("drifted") and s.value}
        assert drifted == ({"failed"} if night == 3 else set())
    assert max(counts) <= 3 * 6
