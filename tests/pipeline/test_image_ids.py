"""Image ids: from an annotation file, or from numeric file names."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.image_ids import ImageIds
from posrefine.errors import ConfigurationError


@given(st.integers(0, 10**18 - 1))
def test_a_numeric_file_name_is_its_id(number: int):
    assert ImageIds().of(f"val2017/{number:012d}.jpg") == number


@pytest.mark.parametrize("key", ["beach.jpg", "12a.jpg", "-3.jpg", "٣.jpg", "9" * 19 + ".jpg", "1.5.jpg"])
def test_other_names_have_none(key: str):
    assert ImageIds().of(key) is None


def test_an_annotation_file_decides_where_there_is_one():
    images = [{"file_name": "a.jpg", "id": 7}, {"file_name": "train/5.jpg", "id": 8}]
    ids = ImageIds.parse(json.dumps({"images": images}).encode(), "f.json")
    assert ids.of("a.jpg") == ids.of("deep/below/a.jpg") == 7
    assert ids.of("train/5.jpg") == 8
    assert ids.of("5.jpg") is None


@pytest.mark.parametrize("data", [b"no json", b"[]", b'{"images": [{"id": 1}]}', b'{"annotations": []}'])
def test_anything_else_is_refused_by_name(data: bytes):
    with pytest.raises(ConfigurationError, match=r"annotations f\.json: no COCO file"):
        ImageIds.parse(data, "f.json")
