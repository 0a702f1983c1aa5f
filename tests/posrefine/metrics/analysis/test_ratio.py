"""A mean lies in its own interval, whatever the values are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from posrefine.metrics.analysis.ratio import Ratio

persons = st.lists(st.tuples(st.integers(1, 9), st.floats(0, 1)), min_size=1, max_size=30)
alike = st.builds(
    lambda counts, value: [(count, value) for count in counts],
    st.lists(st.integers(1, 9), min_size=1, max_size=30),
    st.sampled_from([0.0, 0.1, 0.3, 0.7, 1.0]),
)


@given(st.one_of(persons, alike))
def test_the_mean_lies_in_its_interval_and_the_interval_between_0_and_1(images: list[tuple[int, float]]):
    n = np.array([count for count, _ in images], float)
    found = Ratio.of(n * [value for _, value in images], n).estimate()
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert (found.count, found.images) == (n.sum(), len(images))


def test_nothing_has_no_mean():
    nothing = Ratio().estimate()
    assert (nothing.value, nothing.low, nothing.high, nothing.count) == (None, None, None, 0)
