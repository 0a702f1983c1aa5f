"""The files that exports make for image keys."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given
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


@pytest.mark.parametrize(
    "key",
    [
        "a/" * 3000 + "b.jpg",
        f"{'d' * 200}/" * 4 + "b.jpg",
        f"{'写真' * 30}/" * 50 + f"{'写' * 200}.jpg",
        "a/" * 500 + f"{'n' * 300}.jpg",
    ],
    ids=["3000 folders", "long folders", "other letters", "long name"],
)
def test_a_path_that_no_store_takes_is_shortened_and_stays_its_own(key: str, tmp_path: Path, s3_bucket):
    paths = PathsInFolder(".txt")
    found = [paths.of(key), paths.of(f"x{key}"), paths.of(f"{key}/c.jpg"), paths.of(f"{key}.jpg")]
    assert len({*found}) == 4
    for root in (str(tmp_path), join_uri(s3_bucket.uri, "p" * 250)):
        for path in found:
            Storage().put(join_uri(root, path), b"labels")
    assert (tmp_path / found[0]).read_bytes() == b"labels"
    assert all(path.endswith(".txt") and len(path.encode()) <= 768 for path in found)
    assert found[0].startswith(key.partition("/")[0])


@example(key=["..\\"])  # a file called `..txt` lies in the folder
@given(key=st.lists(st.text("a./\\\udcff写", min_size=1, max_size=90), min_size=1, max_size=90))
def test_a_shortened_path_lies_in_the_folder(key: list[str]):
    path = PathsInFolder(".txt").of("/".join(key))
    assert len(path.encode(errors="surrogatepass")) <= 768
    assert not {"..", "/", "."} & set(Path(path).parts)
    assert os.path.normpath(os.fsencode(path)).split(b"/")[0] not in (b"..", b"")


def test_paths_that_fit_are_kept():
    assert PathsInFolder(".txt").of("folder/" * 100 + "b.jpg") == "folder/" * 100 + "b.txt"


def test_names_that_fit_are_kept_and_those_that_differ_in_nothing_but_the_suffix_are_refused():
    paths = PathsInFolder(".txt")
    assert paths.of("a/b.png") == "a/b.txt"
    assert paths.of(f"{'n' * 251}.png") == f"{'n' * 251}.txt"
    with pytest.raises(ConfigurationError, match="the same file"):
        paths.of("a/b.jpg")
