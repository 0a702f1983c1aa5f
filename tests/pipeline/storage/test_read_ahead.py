from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.storage import Storage, read_ahead
from pipeline.storage.read_ahead import ReadAhead
from posrefine.errors import ObjectChanged

DATA = bytes(range(256)) * 40


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(read_ahead, "_BLOCK_BYTES", 1000)
    monkeypatch.setattr(read_ahead, "_TAIL_BYTES", 300)


@given(
    st.tuples(st.integers(0, len(DATA)), st.integers(0, len(DATA))).map(sorted),
    st.lists(st.tuples(st.integers(0, len(DATA) + 50), st.integers(0, 3000)), max_size=10),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_reads_in_any_order_are_slices_of_the_object(small_blocks, tmp_path, stretch, reads):
    uri = str(tmp_path / "object")
    Storage().put(uri, DATA)
    with ReadAhead(Storage(), uri, None, len(DATA), *stretch) as source:
        for position, length in reads:
            assert source.read(position, length) == DATA[position : position + length]


def test_a_walk_reads_each_block_once_and_nothing_behind_its_end(small_blocks, tmp_path):
    uri = str(tmp_path / "object")
    Storage().put(uri, DATA)
    ranges = []

    class Watched(Storage):
        def read_range(self, uri, start, end, etag=None):
            ranges.append((start, end))
            return super().read_range(uri, start, end, etag)

    with ReadAhead(Watched(), uri, None, len(DATA), 2500, 5200) as source:
        for position in range(2500, 5200, 100):
            source.read(position, 100)
    assert sorted(ranges) == [(2500, 3500), (3500, 4500), (4500, 5200)]


def test_a_walk_through_a_long_object_holds_three_blocks(small_blocks, tmp_path):
    uri = str(tmp_path / "object")
    Storage().put(uri, DATA)
    with ReadAhead(Storage(), uri, None, len(DATA), 0, len(DATA)) as source:
        for position in range(0, len(DATA), 64):
            source.read(position, 64)
            assert len(source._blocks) <= 3


def test_an_object_replaced_under_way_is_noticed(small_blocks, tmp_path):
    storage, uri = Storage(), str(tmp_path / "object")
    storage.put(uri, DATA)
    with ReadAhead(storage, uri, storage.head(uri).etag, len(DATA), 0, len(DATA)) as source:
        source.read(0, 10)
        storage.put(uri, DATA[::-1])
        with pytest.raises(ObjectChanged):
            source.read(5000, 10)
