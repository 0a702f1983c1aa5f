"""Files of records read in pieces of any size are what they are when read whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.json_stream import iter_records
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError, ObjectMissing

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
_quick = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(path: Path, content: str, piece_bytes: int) -> list[tuple[str, Any]]:
    path.write_text(content, encoding="utf-8")
    return list(iter_records(Storage(), str(path), piece_bytes))


@_quick
@given(value=st.lists(_values, max_size=6), piece_bytes=st.integers(1, 40), indent=st.sampled_from([None, 2]))
def test_an_array_gives_its_elements(
    tmp_path: Path, value: list[Any], piece_bytes: int, indent: int | None
) -> None:
    content = json.dumps(value, indent=indent, ensure_ascii=False)

    assert read(tmp_path / "a.json", content, piece_bytes) == [("", element) for element in value]


@_quick
@given(
    value=st.dictionaries(st.text(max_size=5), st.lists(_values, max_size=4) | st.integers(), max_size=4),
    piece_bytes=st.integers(1, 40),
)
def test_an_object_gives_the_elements_of_its_arrays(
    tmp_path: Path, value: dict[str, Any], piece_bytes: int
) -> None:
    expected = []
    for key, member in value.items():
        expected += [(key, element) for element in member] if isinstance(member, list) else [(key, member)]

    assert read(tmp_path / "a.json", json.dumps(value), piece_bytes) == expected


@pytest.mark.parametrize(
    "content",
    ['[{"a": 1}', '[{"a": 1}, {"a"', '{"images": [1, 2', "[1 2]", "[1] 2", "", "3", '{"a" 1}', "[1,]"],
)
def test_a_file_that_is_cut_off_or_no_json_is_refused_by_name(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigurationError, match=r"a\.json: no JSON file of records near byte"):
        read(tmp_path / "a.json", content, 4)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'["\xff\xfe"]')

    with pytest.raises(ConfigurationError, match="not UTF-8"):
        list(iter_records(Storage(), str(tmp_path / "a.json")))


def test_a_missing_file_is_a_matter_of_storage(tmp_path: Path) -> None:
    with pytest.raises(ObjectMissing):
        list(iter_records(Storage(), str(tmp_path / "none.json")))
