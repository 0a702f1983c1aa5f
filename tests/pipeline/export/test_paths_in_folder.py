"""The files that exports make for image keys."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.export.source import PathsInFolder
from pipeline.storage import Storage
from pipeline.storage.uris import join_uri
from posrefine.errors import ConfigurationError

LONG = [
    f"{'n' * 300}.png",
    f"a/{'写真' * 100}.jpg",
    f"{'d' * 400}/b.png",
    f"{'n' * 252}.tiff",
    "a." + "s" * 300,
]


@pytest.mark.parametrize("key", LONG)
def test_a_name_that_no_file_system_takes_is_cut_and_stays_its_own(key: str, tmp_path: Path):
    paths = PathsInFolder(".txt")
    path, other = paths.of(key), paths.of(f"x{key}")
    assert path != other
    Storage().put(join_uri(str(tmp_path), path), b"labels")
    assert (tmp_path / path).read_bytes() == b"labels"
    assert path.endswith(".txt")


@given(key=st.text(min_size=1, max_size=400))
def test_a_path_lies_in_the_folder_and_no_part_of_it_is_too_long(key: str):
    parts = Path(PathsInFolder(".txt").of(key)).parts
    assert parts
    assert not {"..", "/"} & set(parts)
    assert all(len(part.encode(errors="surrogatepass")) <= 255 for part in parts)


def test_names_that_fit_are_kept_and_those_that_differ_in_nothing_but_the_suffix_are_refused():
    paths = PathsInFolder(".txt")
    assert paths.of("a/b.png") == "a/b.txt"
    assert paths.of(f"{'n' * 251}.png") == f"{'n' * 251}.txt"
    with pytest.raises(ConfigurationError, match="the same file"):
        paths.of("a/b.jpg")
