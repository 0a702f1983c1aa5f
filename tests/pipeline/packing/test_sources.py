"""What can be packed, and what would lose or mix up images and is refused before anything is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.packing.sources import FolderSource
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError


def opened(folder: Path, *images: tuple[int, str]) -> FolderSource:
    (folder / "images").mkdir()
    for _, name in images:
        path = folder / "images" / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    listed = [{"id": image_id, "file_name": name} for image_id, name in images]
    (folder / "labels.json").write_text(json.dumps({"images": listed, "annotations": []}))
    return FolderSource.open(str(folder / "images"), str(folder / "labels.json"), Storage())


def test_every_image_is_packed_with_its_own_bytes(tmp_path: Path):
    source = opened(tmp_path, (1, "a.b.jpg"), (2, "a%2Eb.jpg"), (3, "A.jpg"), (4, "a.jpg"))
    packed = {image.image["file_name"]: image.encoded for image in source.images(0, 9, Storage())}
    assert packed == {
        "a%2Eb.jpg": b"a.b.jpg",
        "a%252Eb.jpg": b"a%2Eb.jpg",
        "A.jpg": b"A.jpg",
        "a.jpg": b"a.jpg",
    }


def test_the_names_in_a_shard_are_paths_below_it(tmp_path: Path):
    source = opened(tmp_path, (1, "/a.jpg"), (2, "./b//c.jpg"))
    packed = {image.image["file_name"]: image.encoded for image in source.images(0, 9, Storage())}
    assert packed == {"a.jpg": b"/a.jpg", "b/c.jpg": b"./b//c.jpg"}


def test_names_that_become_one_in_a_shard_are_refused(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="differ in nothing but the suffix, such as a; rename"):
        opened(tmp_path, (1, "a.jpg"), (2, "./a.jpg"))


def test_persons_of_images_that_the_file_does_not_list_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / "a.jpg").write_bytes(b"a")
    people = [{"id": 10 + image_id, "image_id": image_id} for image_id in (1, 7, 8)]
    content = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": people}
    (tmp_path / "labels.json").write_text(json.dumps(content))
    source = FolderSource.open(str(tmp_path), str(tmp_path / "labels.json"), Storage())
    (packed,) = source.images(0, 1, Storage())
    assert [person["id"] for person in packed.annotations] == [11]
    assert (
        "2 annotations are of images that the file does not list, such as annotation 17 of image 7"
        in caplog.text
    )


def test_two_images_of_one_id_are_refused_and_both_named(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"a\.jpg and b\.jpg both have the id 1"):
        opened(tmp_path, (1, "a.jpg"), (1, "b.jpg"))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.json", "the suffix of the labels beside it"),
        ("a.JSON", "the suffix of the labels"),
        ("a.b.", "no name and suffix"),
        ("../a.jpg", "leads out of its folder"),
        ("b/../../a.jpg", "leads out of its folder"),
    ],
)
def test_a_name_that_a_shard_cannot_tell_from_its_labels_is_refused(tmp_path: Path, name: str, reason: str):
    with pytest.raises(ConfigurationError, match=reason):
        opened(tmp_path, (1, name))
