"""What of an input is taken by its name."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from support.images import encode, gradient
from support.shards import make_tar

from pipeline.inputs import selection
from pipeline.inputs.cutting import CutOptions, cut_into_units, listed_skipped
from pipeline.inputs.readers import ReadOptions, iter_unit
from pipeline.inputs.selection import EXCLUDED, SYSTEM_FILES, Form, Selection
from pipeline.storage import Storage

STORAGE = Storage()
PHOTO = encode(gradient())
LITTER = ("._a.jpg", "b/._a.jpg", "__MACOSX/a.jpg", "b/__MACOSX/c/a.jpg", "Thumbs.db", ".DS_Store")


@pytest.mark.parametrize("name", LITTER)
def test_what_operating_systems_leave_beside_photographs_is_no_input(name):
    assert Selection().of_object(name) == SYSTEM_FILES
    assert Selection().of_member(name) == SYSTEM_FILES


@pytest.mark.parametrize(
    "name", ["a.jfif", "A.JFIF", "a.pjpeg", "a.jpe", "x/_a.jpg", ".hidden.jpg", "..jpg.png"]
)
def test_every_suffix_of_a_format_that_is_read_is_taken(name):
    assert Selection().of_object(name) is Form.IMAGE


@pytest.mark.parametrize(
    ("key", "taken"),
    [
        ("train/a.jpg", True),
        ("train/b/c.png", True),
        ("train/b/c.seg.png", False),
        ("test/a.jpg", False),
        ("a/train/a.jpg", False),
        ("train/A.JPG", True),
        ("train/0.tar", True),
    ],
)
def test_patterns_choose_the_objects(key, taken):
    chosen = Selection(include=("train/*",), exclude=("*.seg.png",))
    assert chosen.of_object(key) in ([Form.IMAGE, Form.TAR] if taken else [EXCLUDED])


def test_what_is_no_input_anyway_is_counted_by_its_suffix_whatever_the_patterns():
    assert Selection(include=("*.jpg",)).of_object("labels/a.txt") == ".txt"


def test_a_selection_travels_to_workers():
    chosen = Selection(exclude=("b*",))
    assert chosen.of_object("b.jpg") == EXCLUDED
    assert pickle.loads(pickle.dumps(chosen)).of_object("b.jpg") == EXCLUDED


def members_of(tar: bytes, folder: Path, chosen: Selection) -> tuple[list[str], Counter[str]]:
    (folder / "a.tar").write_bytes(tar)
    (unit,) = cut_into_units(str(folder), STORAGE, CutOptions(selection=chosen))
    skipped: Counter[str] = Counter()
    images = list(iter_unit(unit, STORAGE, ReadOptions(selection=chosen), skipped))
    return [image.image_key for image in images], skipped


def test_a_mask_beside_a_photograph_in_a_tar_is_an_image_unless_it_is_excluded(tmp_path):
    tar = make_tar({"0.jpg": PHOTO, "0.json": b"{}", "0.seg.png": PHOTO, "__MACOSX/._0.jpg": b"x"})
    assert members_of(tar, tmp_path, Selection())[0] == ["0.jpg", "0.seg.png"]
    keys, skipped = members_of(tar, tmp_path, Selection(exclude=("*.seg.png",)))
    assert keys == ["0.jpg"]
    assert skipped == {EXCLUDED: 1, ".json": 1, SYSTEM_FILES: 1}


def test_a_photograph_in_a_tar_that_is_not_read_here_is_a_row_and_in_a_folder_counted(monkeypatch):
    monkeypatch.setattr(selection, "UNREAD_SUFFIXES", {".heic": "pillow-heif"})
    without = Selection(image_suffixes=(".jpg",))
    assert without.of_member("a.heic") is Form.IMAGE
    assert without.of_object("a.heic") == ".heic"
    assert Selection(image_suffixes=(".jpg",), exclude=("*.heic",)).of_member("a.heic") == EXCLUDED


def test_a_hard_link_in_a_tar_is_a_second_name_and_no_second_image(tmp_path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        entry = tarfile.TarInfo("a.jpg")
        entry.size = len(PHOTO)
        tar.addfile(entry, io.BytesIO(PHOTO))
        link = tarfile.TarInfo("b.jpg")
        link.type, link.linkname = tarfile.LNKTYPE, "a.jpg"
        tar.addfile(link)
    assert members_of(file.getvalue(), tmp_path, Selection()) == (["a.jpg"], Counter({"<link>": 1}))


def test_a_folder_copied_from_a_mac_gives_its_photographs_alone(tmp_path):
    for name in (*LITTER, "b/a.jpg", "a.jfif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(PHOTO)
    skipped: Counter[str] = Counter()
    (unit,) = cut_into_units(str(tmp_path), STORAGE, skipped=skipped)
    assert [entry.key for entry in unit.objects] == ["a.jfif", "b/a.jpg"]
    assert skipped == {SYSTEM_FILES: len(LITTER)}
    assert (
        listed_skipped({"": 1, ".txt": 2000, SYSTEM_FILES: 3}) == "1 without suffix, 2,000 .txt, 3 <system>"
    )
