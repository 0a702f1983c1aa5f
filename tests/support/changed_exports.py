"""Exports of labelling tools as they are, and changed; and what reading them says."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.labelling_tools import (
    Labelled,
    LabelledImage,
    cvat_xml,
)

from pipeline.review.labels import ReviewedImage
from pipeline.review.read_reviews import read_reviews
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError
from posrefine.skeletons import COCO

__all__ = ["KEY", "WHOLE", "cvat", "images", "of_json", "read", "refused"]

WHOLE = dict.fromkeys(COCO.joints, (10.0, 20.0, 2)) | {"nose": (30.5, 40.25, 1), "left_ear": (0.0, 0.0, 0)}
KEY = "a.jpg"


def images(*persons: Labelled) -> list[LabelledImage]:
    """One image with these persons, or with one."""
    return [LabelledImage(KEY, "ab" * 32, 640, 480, persons or (Labelled(WHOLE, 0),))]


def read(path: Path, **asked: Any) -> list[ReviewedImage]:
    """What the export at `path` says."""
    return list(read_reviews(Storage(), str(path), COCO, **asked))


def refused(path: Path, *words: str, **asked: Any) -> None:
    """By an error that names the file and all the words."""
    with pytest.raises(ConfigurationError) as error:
        read(path, **asked)
    for word in (str(path), *words):
        assert word in str(error.value), str(error.value)


def cvat(folder: Path, change: Callable[[str], str] = lambda text: text) -> Path:
    """CVAT's export of the image, its text changed."""
    text = cvat_xml(images(), "ann", random.Random(0))
    changed = change(text)
    (folder / "annotations.xml").write_text(changed, encoding="utf-8")
    return folder / "annotations.xml"


def of_json(folder: Path, content: Any) -> Path:
    """An export of that content."""
    (folder / "export.json").write_text(json.dumps(content))
    return folder / "export.json"
