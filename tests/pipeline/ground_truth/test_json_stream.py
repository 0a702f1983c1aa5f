"""Files of records read in pieces of any size are what they are when read whole."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.ground_truth.json_stream import iter_records
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError

_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
_signs = st.sampled_from(["a", '"', "\\", "}", "{", "]", "[", ",", " ", "\n", "é"])
_objects = st.dictionaries(
    st.text(_signs, max_size=4),
    _values | st.text(_signs, max_size=8) | st.lists(st.dictionaries(st.text(_signs, max_size=2), _values)),
    max_size=3,
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


@_quick
@given(
    value=st.dictionaries(st.text(_signs, max_size=5), st.lists(_objects, max_size=6), max_size=3),
    piece_bytes=st.sampled_from([7, 30, 100, 10_000]),
    indent=st.sampled_from([None, 1]),
)
def test_arrays_of_objects_give_their_objects_whatever_signs_are_in_them(
    tmp_path: Path, value: dict[str, Any], piece_bytes: int, indent: int | None
) -> None:
    expected = [(key, element) for key, member in value.items() for element in member]
    content = json.dumps(value, indent=indent, ensure_ascii=False)

    assert read(tmp_path / "a.json", content, piece_bytes) == expected


def test_records_that_only_the_standard_library_reads_are_read(tmp_path: Path) -> None:
    content = '{"a": [{"b": NaN}, {"b": "\\ud800"}, {"b": 1e400}], "c": [{"b": 1}]}'

    (_, first), *others = read(tmp_path / "a.json", content, 1000)

    assert first["b"] != first["b"]
    assert others == [("a", {"b": "\ud800"}), ("a", {"b": float("inf")}), ("c", {"b": 1})]


@pytest.mark.parametrize(
    "content",
    [
        '[{"a": 1}',
        '[{"a": 1}, {"a"',
        '{"images": [1, 2',
        "[1 2]",
        "[1] 2",
        "",
        "3",
        '{"a" 1}',
        "[1,]",
        "{[1]: 2}",
    ],
)
def test_a_file_that_is_cut_off_or_no_json_is_refused_by_name(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigurationError, match=r"a\.json: no JSON file of records near byte"):
        read(tmp_path / "a.json", content, 4)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'["\xff\xfe"]')

    with pytest.raises(ConfigurationError, match="not UTF-8"):
        list(iter_records(Storage(), str(tmp_path / "a.json")))


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a": ' * 100_000, "[" + "9" * 5000 + "]"])
def test_values_that_no_record_has_are_refused_by_name(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigurationError, match=r"a\.json: no JSON file of records near byte"):
        read(tmp_path / "a.json", content, 1000)


@pytest.mark.parametrize("content", ['{"info": {"a": [%s]}, "b": [1]}', '[{"a": [%s]}]', '{"a": {"b": [%s'])
def test_a_value_of_many_pieces_is_gone_through_a_few_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    scanned: list[int] = []
    raw_decode = json.JSONDecoder.raw_decode

    def counted(decoder: json.JSONDecoder, text: str, start: int = 0) -> tuple[Any, int]:
        scanned.append(len(text) - start)
        return raw_decode(decoder, text, start)

    monkeypatch.setattr(json.JSONDecoder, "raw_decode", counted)
    content %= ", ".join(map(str, range(20_000)))
    with suppress(ConfigurationError):
        read(tmp_path / "a.json", content, 1000)
    assert len(content) <= sum(scanned) <= 5 * len(content)


def test_a_number_beyond_all_numbers_is_infinite_and_no_id(tmp_path: Path) -> None:
    assert read(tmp_path / "a.json", "[1e400]", 1000) == [("", float("inf"))]


def test_a_missing_file_is_a_wrong_address(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.json: there is no such file"):
        list(iter_records(Storage(), str(tmp_path / "none.json")))
