"""How many processors there were, of a cluster that grows and shrinks."""

from __future__ import annotations

import itertools
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.driver import processors
from pipeline.driver.processors import Processors, looking_now_and_then


def test_a_cluster_that_stays_as_it_is_has_what_it_had():
    seen = Processors(10.0, 8)
    for at_s in range(15, 100, 5):
        seen.see(at_s, 8)
    assert seen.mean(12, 90) == seen.mean(12, 500) == seen.mean(0, 11) == 8


def test_a_machine_that_came_or_went_counts_for_all_of_the_time_between_two_looks():
    seen = Processors(0.0, 2)
    seen.see(5.0, 2)
    seen.see(10.0, 6)  # came after the fifth second
    seen.see(15.0, 6)
    seen.see(20.0, 1)  # went after the fifteenth
    assert seen.mean(0, 5) == 2
    assert seen.mean(5, 20) == 6
    assert seen.mean(20, 30) == 1
    assert seen.mean(0, 30) == pytest.approx((5 * 2 + 15 * 6 + 10 * 1) / 30)


def test_of_no_time_at_all_it_is_the_last_number():
    seen = Processors(0.0, 2)
    seen.see(5.0, 4)
    assert seen.mean(5.0, 5.0) == 4


@given(
    counts=st.lists(st.integers(0, 5), min_size=1, max_size=30),
    changes=st.lists(st.tuples(st.floats(0, 30), st.integers(0, 5)), max_size=30),
)
def test_it_is_never_fewer_than_there_were(counts: list[int], changes: list[tuple[float, int]]):
    # The truth changes at most once between two looks.
    truth = sorted({int(at_s): (at_s, count) for at_s, count in changes}.values())

    def there(at_s: float) -> int:
        return next((count for since_s, count in reversed(truth) if since_s <= at_s), counts[0])

    seen = Processors(0.0, there(0.0))
    for at_s in range(1, 32):
        seen.see(at_s, there(at_s))
    moments = sorted({0.0, 31.0, *(at_s for at_s, _ in truth)})
    really = sum((end_s - begin_s) * there(begin_s) for begin_s, end_s in itertools.pairwise(moments))
    assert seen.mean(0, 31) >= really / 31 - 1e-9


def test_it_is_looked_for_as_long_as_the_work_lasts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(processors, "_LOOK_AGAIN_S", 0.001)
    twice = threading.Semaphore(0)
    with looking_now_and_then(twice.release):
        assert twice.acquire(timeout=60)
        assert twice.acquire(timeout=60)
    assert not any(thread.name == "processors" for thread in threading.enumerate())
