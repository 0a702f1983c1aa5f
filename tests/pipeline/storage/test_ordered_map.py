from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.storage.ordered_map import map_in_order


@given(st.lists(st.integers()), st.integers(1, 5))
def test_results_come_in_the_order_of_the_items(items, threads):
    assert list(map_in_order(lambda item: item * 2, items, threads)) == [item * 2 for item in items]


def test_a_slow_item_does_not_let_later_ones_overtake():
    assert list(map_in_order(lambda seconds: time.sleep(seconds) or seconds, [0.1, 0.0, 0.05], 3)) == [
        0.1,
        0.0,
        0.05,
    ]


def test_items_run_at_the_same_time():
    together = threading.Barrier(4, timeout=10)
    assert len(list(map_in_order(lambda _: together.wait(), range(4), 4))) == 4


def test_threads_do_not_run_further_ahead_than_their_number():
    started = []
    results = map_in_order(started.append, range(100), 3)
    next(results)
    time.sleep(0.1)
    assert len(started) <= 4
    results.close()


def test_an_exception_comes_where_its_result_would_have_come():
    results = map_in_order(lambda item: 1 // item, [1, 1, 0, 1], 4)
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
