"""Files of settings that are odd, hostile, or no files of settings at all."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.settings.yaml_file import read_yaml
from posrefine.errors import ConfigurationError

BOMB = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def test_names_and_values_are_read_whatever_their_types(tmp_path: Path):
    file = tmp_path / "s.yaml"
    file.write_text("unit_images: 5\nscales: [0.5, 1]\nflip: no\nactors: null\n")
    assert read_yaml(file) == {"unit_images": 5, "scales": [0.5, 1], "flip": False, "actors": None}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: " + "[" * 100_000, "nested deeper than 8 levels"),
        ("a: " + "{b: " * 20 + "1" + "}" * 20, "nested deeper than 8 levels"),
        (BOMB, r"has the alias \*a; write the value out"),
        ("a: 1\nb: 2\na: 3\n", "a stands there twice"),
        ("a: " + "x" * 2**20, "over 1,048,576 bytes"),
        ("a: 2026-02-31", "no YAML"),
        ("a: " + "9" * 5000, "no YAML"),
        ("a: !!python/object/apply:os.system [ls]", "no YAML"),
        ("a: \x00", "no YAML"),
        ('a: !!int ""', "no YAML"),
        ("a: !!bool x", "no YAML"),
        ("a: !!timestamp x", "no YAML"),
        ("1: 2", "wanted a mapping of names to values"),
        ("- a\n- b\n", "holds a list"),
        ("", "holds a NoneType"),
    ],
    ids=[
        "brackets",
        "braces",
        "aliases",
        "twice",
        "long",
        "no date",
        "digits",
        "object",
        "zero",
        "empty integer",
        "no truth",
        "no time",
        "number",
        "list",
        "empty",
    ],
)
def test_what_no_settings_look_like_is_an_error_that_names_the_file(
    tmp_path: Path, content: str, message: str
):
    file = tmp_path / "s.yaml"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match=message) as caught:
        read_yaml(file)
    assert str(file) in str(caught.value)


def test_a_folder_is_no_file_of_settings(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_yaml(tmp_path)


@given(st.binary(max_size=200) | st.text("a:[]{}&*-? \n'\"#|>!%@0.", max_size=200).map(str.encode))
def test_any_bytes_give_settings_or_the_projects_own_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
):
    file = tmp_path_factory.getbasetemp() / "any.yaml"
    file.write_bytes(content)
    with contextlib.suppress(ConfigurationError):
        assert isinstance(read_yaml(file), dict)
