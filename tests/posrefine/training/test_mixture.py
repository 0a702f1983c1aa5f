"""Sources that take turns by their shares."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.labelled import labelled_image

from posrefine.errors import ConfigurationError
from posrefine.training.mixture import Mixture, Part


class Numbered:
    """A source of as many images as it is told."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, position: int) -> Any:
        return labelled_image(np.zeros((0, 17, 3)))


def drawn(mixture: Mixture, views: int, seed: int = 0) -> list[tuple[int, int]]:
    """(part, position) of the first views."""
    sources = [part.source for part in mixture.parts]
    draws = [mixture.draw(seed, ordinal) for ordinal in range(views)]
    return [(sources.index(source), position) for source, position in draws]


def test_views_are_shared_out_by_weight_and_spread_evenly():
    mixture = Mixture((Part(Numbered(50), 7.0), Part(Numbered(9000), 3.0)))
    parts = [part for part, _ in drawn(mixture, 1000)]
    assert Counter(parts) == {0: 700, 1: 300}
    for start in range(0, 1000, 20):
        assert 13 <= parts[start : start + 20].count(0) <= 15


@given(
    st.lists(st.tuples(st.integers(1, 30), st.floats(0.01, 100)), min_size=1, max_size=5), st.integers(0, 9)
)
def test_every_source_is_gone_through_whole_before_an_image_comes_again(sizes, seed: int):
    mixture = Mixture(tuple(Part(Numbered(count), share) for count, share in sizes))
    views = drawn(mixture, 300, seed)
    assert len(mixture) == sum(count for count, _ in sizes)
    for number, (count, _) in enumerate(sizes):
        mine = [position for part, position in views if part == number]
        assert mine
        for start in range(0, len(mine) - count + 1, count):
            assert sorted(mine[start : start + count]) == list(range(count))


def test_a_source_alone_is_drawn_as_without_a_mixture():
    positions = [position for _, position in drawn(Mixture.of(Numbered(5)), 10)]
    assert sorted(positions[:5]) == sorted(positions[5:]) == list(range(5))
    assert positions[:5] != positions[5:]


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ((), "no sources"),
        ((Part(Numbered(3), 0.0),), "share is 0.0: give a number above 0"),
        ((Part(Numbered(0), 1.0),), "a source is empty"),
    ],
)
def test_mixtures_that_cannot_be_drawn_from_are_refused(parts, words: str):
    with pytest.raises(ConfigurationError, match=words):
        Mixture(parts)
