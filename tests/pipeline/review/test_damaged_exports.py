"""Whatever has happened to an export, it is read or refused by name; nothing else comes of it."""

from __future__ import annotations

import json
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.labelling_tools import (
    EXPORTS,
    Labelled,
    LabelledImage,
    coco_content,
    cvat_xml,
    fiftyone_samples,
    label_studio_tasks,
)

from pipeline.review.labels import ReviewedImage
from pipeline.review.read_reviews import read_reviews
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError
from posrefine.skeletons import COCO

JOINTS = dict.fromkeys(COCO.joints, (10.0, 20.0, 2)) | {"nose": (30.5, 40.25, 1), "left_ear": (0.0, 0.0, 0)}
IMAGES = [
    LabelledImage("a.jpg", "ab" * 32, 640, 480, (Labelled(JOINTS, 0), Labelled(JOINTS, 1))),
    LabelledImage("b.jpg", "cd" * 32, 640, 480, (), 0),
]
ODD: list[Any] = [
    *(None, True, "", "x", -1, 0, 3, 10**30, 1e300, float("nan"), float("inf")),
    *([], {}, [1], [[]], [None], {"a": 1}, {"$numberDouble": "x"}, {"$numberInt": "7"}),
]


def damaged(content: Any, chance: random.Random) -> Any:
    """With one value gone, doubled or replaced, anywhere in it."""
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        names = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        for name in names:
            places.append((value, name))
            walk(value[name])

    walk(content)
    holder, name = chance.choice(places)
    way = chance.random()
    if way < 0.25:
        del holder[name]
    elif way < 0.4 and isinstance(holder, list):
        holder.insert(name, holder[name])
    else:
        holder[name] = chance.choice(ODD)
    return content


def cut(text: str, chance: random.Random) -> str:
    """With a piece gone, moved or replaced."""
    at, length = chance.randrange(len(text)), chance.randrange(1, 30)
    way = chance.random()
    if way < 0.3:
        return text[:at] + text[at + length :]
    if way < 0.7:
        start = chance.randrange(len(text))
        return text[:at] + text[start : start + length] + text[at:]
    return text[:at] + chr(chance.randrange(1, 0x500)) + text[at + 1 :]


def export(tool: str, chance: random.Random) -> bytes:
    if tool == "cvat":
        return cut(cvat_xml(IMAGES, "ann", chance), chance).encode("utf-8", "replace")
    if tool == "coco":
        return json.dumps(damaged(coco_content(IMAGES, "ann", chance), chance)).encode()
    if tool == "fiftyone":
        samples = damaged(fiftyone_samples(IMAGES, "ann", chance), chance)
        return "\n".join(map(json.dumps, samples)).encode()
    if tool == "label-studio":
        return json.dumps(damaged(label_studio_tasks(IMAGES, "ann", chance), chance)).encode()
    with tempfile.TemporaryDirectory() as folder:
        data = bytearray(EXPORTS["cvat"](IMAGES, "ann", chance, Path(folder)).read_bytes())
    for _ in range(chance.randrange(1, 6)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


@pytest.mark.parametrize("tool", [*EXPORTS, "archive"])
@settings(max_examples=50, deadline=None)
@example(seed=863128334)  # a frame of more px than any number of the tables holds
@given(seed=st.integers(0, 2**32))
def test_a_damaged_export_is_read_or_refused_with_its_name(tool: str, seed: int):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export"
        path.write_bytes(export(tool, random.Random(seed)))
        found: list[ReviewedImage] = []
        try:
            found += read_reviews(Storage(), str(path), COCO)
        except ConfigurationError as error:
            refusal = str(error)
        else:
            refusal = str(path)
        assert str(path) in refusal
        for person in (person for image in found for person in image.persons):
            assert person.keypoints.shape == (17, 2)
            assert set(person.visibility.tolist()) <= {0, 1, 2}
            assert not person.keypoints[person.visibility == 0].any()
