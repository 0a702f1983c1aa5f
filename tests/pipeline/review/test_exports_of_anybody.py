"""Exports are files that anybody may have made: archives, entities and sizes that attack who reads them."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

import pytest
from support.changed_exports import cvat, images, of_json, read, refused
from support.labelling_tools import (
    coco_content,
    cvat_xml,
)

from posrefine.errors import ConfigurationError


def test_names_that_a_terminal_would_obey_are_written_out(tmp_path: Path):
    content = coco_content(images(), "ann", random.Random(0))
    content["images"][0].update(file_name="\x1b[2J\ud800.jpg")
    (image,) = read(of_json(tmp_path, content))
    assert image.place.endswith(r"\x1b[2J\ud800.jpg")


# Files that mean harm.


def test_xml_that_declares_entities_or_types_is_refused(tmp_path: Path):
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;">]><annotations>&c;</annotations>'
    (tmp_path / "a.xml").write_text(bomb)
    refused(tmp_path / "a.xml", "declares a document type or entities")
    outside = '<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations></annotations>'
    (tmp_path / "a.xml").write_text(outside)
    refused(tmp_path / "a.xml", "declares a document type")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<annotations>" + "<a>" * 100, "lie in more than"),
        ("<annotations><a>" + "x" * 2**21, "more than 1048576 characters"),
        ('<annotations a="' + "x" * 2**23, "an element of more than"),
    ],
)
def test_xml_that_would_fill_the_memory_is_refused(text: str, words: str, tmp_path: Path):
    (tmp_path / "a.xml").write_text(text)
    refused(tmp_path / "a.xml", words)


def test_archives_are_unpacked_within_bounds_and_what_is_broken_in_them_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../annotations.xml", cvat_xml(images(), "ann", random.Random(0)))
        archive.writestr("__MACOSX/annotations.xml", "none")
    whole = buffer.getvalue()
    path = tmp_path / "ann.zip"
    path.write_bytes(whole)
    assert len(read(path)) == 1
    assert [one.name for one in tmp_path.iterdir()] == ["ann.zip"]
    path.write_bytes(whole[: len(whole) // 2])
    refused(path, "no readable zip")
    damaged = bytearray(whole)
    damaged[200:220] = bytes(20)
    path.write_bytes(bytes(damaged))
    refused(path, "annotations.xml", "cannot be unpacked")
    path.write_bytes(whole)
    monkeypatch.setattr("pipeline.review.formats.answer_files._MOST_BYTES", 100)
    refused(path, "holds more than 100 bytes")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no export that is known"),
        ("hello", "no export that is known"),
        ("{}", "no export that is known"),
        ('[{"image_id": 1, "keypoints": []}]', "COCO's results"),
        ("[1, 2]", "data is None"),
        ('[{"data": {}, "annotations": [' + "[" * 100_000, "no JSON"),
    ],
)
def test_files_of_nobody_are_refused(text: str, words: str, tmp_path: Path):
    (tmp_path / "a.json").write_text(text)
    refused(tmp_path / "a.json", words)


def test_nothing_at_an_address_and_the_file_of_another_tool_are_refused(tmp_path: Path):
    with pytest.raises(ConfigurationError, match="no export of a tool is there"):
        read(tmp_path / "missing")
    refused(cvat(tmp_path), "is an export of cvat, wanted one of coco", tool="coco")
