"""Whatever an annotation file holds, its readers get checked records, or an error that names the file."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.ground_truth.annotation_records import parse_annotations
from pipeline.ground_truth.annotations import read_annotations
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError
from posrefine.metrics.oks_rules import oks_rules

LISTS = ("images", "annotations", "categories")
IMAGE = {"id": 1, "file_name": "a.jpg"}
GOOD: dict[str, Any] = {"images": [IMAGE], "annotations": [{"image_id": 1}], "categories": []}

_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
_records = st.lists(
    _values
    | st.fixed_dictionaries(
        {}, optional=dict.fromkeys(("id", "file_name", "image_id", "name", "keypoints"), _values)
    ),
    max_size=3,
)


def parse(content: object) -> dict[str, Any]:
    return parse_annotations(json.dumps(content).encode(), "f.json", *LISTS)


@pytest.mark.parametrize(
    "change",
    [
        {"images": {}},
        {"images": [None]},
        {"images": [IMAGE | {"id": [1]}]},
        {"images": [IMAGE | {"id": True}]},
        {"images": [IMAGE | {"id": 1.5}]},
        {"images": [IMAGE | {"file_name": 3}]},
        {"images": [IMAGE | {"file_name": ""}]},
        {"images": [IMAGE | {"file_name": "\ud800.jpg"}]},
        {"annotations": [{"image_id": [1]}]},
        {"annotations": ["a"]},
        {"categories": {"id": 1}},
        {"categories": ["person"]},
        {"categories": [{"id": 1, "keypoints": [1, 2]}]},
    ],
    ids=str,
)
def test_a_record_that_is_none_is_refused_by_name(change: dict[str, Any]):
    with pytest.raises(ConfigurationError, match=r"annotations f\.json: no COCO annotation file"):
        parse(GOOD | change)


def test_two_images_of_one_id_are_refused_and_both_named():
    with pytest.raises(ConfigurationError, match=r"a\.jpg and b\.jpg both have the id 1"):
        parse(GOOD | {"images": [IMAGE, IMAGE | {"file_name": "b.jpg"}]})


def test_whole_numbers_written_as_floats_are_ids():
    content = parse({"images": [IMAGE | {"id": 1.0}], "annotations": [{"image_id": 1.0}], "categories": None})
    assert type(content["images"][0]["id"]) is int
    assert type(content["annotations"][0]["image_id"]) is int
    assert content["categories"] == []


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(LISTS, _records | _values)) | _values)
def test_no_file_gets_any_other_error(content: object):
    with contextlib.suppress(ConfigurationError):
        parse(content)


@pytest.mark.parametrize(
    ("change", "found"),
    [({"id": 1.0}, 1), ({"file_name": "\ud800.jpg"}, None)],
    ids=["an id that is a whole float", "half a character"],
)
def test_an_evaluation_takes_odd_images_too(tmp_path: Path, change: dict[str, Any], found: int | None):
    file = tmp_path / "f.json"
    file.write_text(json.dumps({"images": [IMAGE | change]}))
    annotations = read_annotations(Storage(), str(file), oks_rules("coco"))
    assert annotations.truth.image_ids.tolist() == [1]
    assert annotations.names.id_of("a.jpg") == found
