"""File names find images by one rule: the exact path, else the only path that ends alike, else refusal."""

from __future__ import annotations

import json
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ground_truth.annotations import read_image_names
from pipeline.ground_truth.image_names import NO_IMAGE, FoundImages, ImageNames, NumericNames
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError

FOLDERS = st.lists(st.sampled_from(["a", "b", "ab", "ä", "", "."]), max_size=3)
PATHS = st.builds(
    lambda folders, name: "/".join([*folders, name]), FOLDERS, st.sampled_from(["a", "ab", "a\0"])
)


def names(*listed: str) -> ImageNames:
    return ImageNames.of((name, number) for number, name in enumerate(listed, start=1))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("1.jpg", "1.jpg"),
        ("1.jpg", "deep/below/1.jpg"),
        ("val2017/1.jpg", "1.jpg"),
        ("val2017/1.jpg", "coco/val2017/1.jpg"),
        ("/data/coco/val2017/1.jpg", "val2017/1.jpg"),
        ("./val2017//1.jpg", "val2017/1.jpg"),
        ("Straße/日.jpg", "日.jpg"),
    ],
)
def test_a_folder_that_one_side_lacks_does_not_matter(name: str, key: str):
    assert names("other.jpg", name, "b/2.jpg").id_of(key) == 2


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("a/1.jpg", "b/1.jpg"),
        ("1.jpg", "11.jpg"),
        ("11.jpg", "1.jpg"),
        ("1.jpg", "1.png"),
        ("1.jpg", "1.jpg/2.jpg"),
    ],
)
def test_another_folder_or_part_of_a_name_is_another_image(name: str, key: str):
    assert names(name).id_of(key) is None


def test_the_exact_path_goes_before_others_that_end_alike():
    listed = names("a/1.jpg", "1.jpg", "b/a/1.jpg")
    assert [listed.id_of(key) for key in ("a/1.jpg", "1.jpg", "b/a/1.jpg")] == [1, 2, 3]


@pytest.mark.parametrize("listed", list(permutations(["a/1.jpg", "b/1.jpg", "2.jpg"])))
def test_a_name_that_two_annotated_images_have_is_refused_with_both(listed: tuple[str, ...]):
    with pytest.raises(
        ConfigurationError, match=r"image 1\.jpg: is it a/1\.jpg \(id .\) or b/1\.jpg \(id .\)"
    ):
        names(*listed).find(["2.jpg", "1.jpg"])


def test_doubled_slashes_are_another_object_but_say_nothing_where_there_is_no_such_object():
    both = names("a/1.jpg", "a//1.jpg")
    assert [both.id_of(key) for key in ("a/1.jpg", "a//1.jpg")] == [1, 2]
    with pytest.raises(ConfigurationError, match=r"is it a/1\.jpg \(id 1\) or a//1\.jpg \(id 2\)"):
        both.id_of("./a/1.jpg")
    assert names("a//1.jpg").id_of("a/1.jpg") == 1
    keys = ["a//1.jpg", "a/1.jpg"]
    assert names("a/1.jpg").find(keys).settled().tolist() == [NO_IMAGE, 1]
    with pytest.raises(
        ConfigurationError, match=r"images a//1\.jpg and \./a/1\.jpg: which of them is image 1"
    ):
        names("a/1.jpg").find(["a//1.jpg", "./a/1.jpg"]).settled()


@pytest.mark.parametrize(("name", "key"), [("a.jpg", "a.jpg\0"), ("a.jpg\0", "a.jpg"), ("b\0", "x/b")])
def test_a_name_that_ends_in_nul_is_another_name(name: str, key: str):
    assert names(name).id_of(key) is None
    assert names(name, key).id_of(key) == 2


def test_one_name_of_two_ids_is_refused_with_both():
    with pytest.raises(ConfigurationError, match=r"a\.jpg \(id 1\) or a\.jpg \(id 2\)"):
        names("a.jpg", "a.jpg").id_of("a.jpg")


def test_two_images_that_end_like_one_name_are_refused_with_both_unless_one_is_equal_to_it():
    keys = ["a/1.jpg", "b/1.jpg"]
    with pytest.raises(ConfigurationError, match=r"images a/1\.jpg and b/1\.jpg: which of them is image 1"):
        names("1.jpg").find(keys).settled()
    assert names("1.jpg").find([*keys, "1.jpg"]).settled().tolist() == [NO_IMAGE, NO_IMAGE, 1]
    assert names("1.jpg").find(["a/1.jpg", "a/1.jpg"]).settled().tolist() == [1, 1]


def test_claims_of_parts_are_settled_together():
    parts = [names("1.jpg").find([key]) for key in ("a/1.jpg", "1.jpg")]
    assert [part.settled().tolist() for part in parts] == [[1], [1]]
    assert FoundImages.merge(parts).settled().tolist() == [NO_IMAGE, 1]


def plain(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", "."))


@given(st.lists(PATHS, max_size=8), st.lists(PATHS, max_size=8))
def test_the_arrays_find_what_the_rule_says(listed: list[str], keys: list[str]):
    def by_the_rule(key: str) -> list[int]:
        numbered = list(enumerate(listed, start=1))
        exact = [number for number, name in numbered if name == key]
        same = [number for number, name in numbered if plain(name) == plain(key)]
        path = f"/{plain(key)}"
        ends = [
            n for n, name in numbered if f"/{plain(name)}".endswith(path) or path.endswith(f"/{plain(name)}")
        ]
        return exact or same or ends

    wanted = [by_the_rule(key) for key in keys]
    if any(len(ids) > 1 for ids in wanted):
        with pytest.raises(ConfigurationError):
            names(*listed).find(keys)
        return
    found = names(*listed).find(keys)
    assert found.ids.tolist() == [ids[0] if ids else NO_IMAGE for ids in wanted]
    assert found.exact.tolist() == [key in listed for key in keys]


@given(st.integers(0, 10**18 - 1))
def test_without_annotations_a_numeric_file_name_is_its_id(number: int):
    assert NumericNames().id_of(f"val2017/{number:012d}.jpg") == number


@pytest.mark.parametrize("key", ["beach.jpg", "12a.jpg", "-3.jpg", "٣.jpg", "9" * 19 + ".jpg", "1.5.jpg"])
def test_other_names_have_none(key: str):
    assert NumericNames().id_of(key) is None


def test_an_annotation_file_decides_where_there_is_one(tmp_path):
    images = [{"file_name": "a.jpg", "id": 7}, {"file_name": "train/5.jpg", "id": 8}]
    (tmp_path / "f.json").write_text(json.dumps({"images": images}))
    ids, sha256 = read_image_names(str(tmp_path / "f.json"), Storage())
    assert [ids.id_of(key) for key in ("a.jpg", "deep/a.jpg", "train/5.jpg", "5.jpg", "6.jpg")] == [
        7,
        7,
        8,
        8,
        None,
    ]
    assert sha256 is not None
    assert len(sha256) == 64


@pytest.mark.parametrize(
    "data",
    [
        b"no json",
        b"[]",
        b'{"images": [{"id": 1}]}',
        b'{"annotations": []}',
        b'{"images": null}',
        b'{"images": [{"id": "7", "file_name": "a.jpg"}]}',
        b'{"images": [{"id": 18446744073709551616, "file_name": "a.jpg"}]}',
        b'{"images": [{"id": 1, "file_name": null}]}',
        b"[" * 100_000,
    ],
)
def test_anything_else_is_refused_by_name(tmp_path, data: bytes):
    (tmp_path / "f.json").write_bytes(data)
    with pytest.raises(ConfigurationError, match=r"annotations .*f\.json: no COCO annotation file"):
        read_image_names(str(tmp_path / "f.json"), Storage())


def test_names_are_arrays_that_workers_can_share():
    shared = names("a/1.jpg", "b/2.jpg")
    assert shared.names.dtype.kind == "S"
    assert np.array_equal(shared.ids, [1, 2])
