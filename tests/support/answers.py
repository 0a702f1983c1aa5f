"""Reviewers' answers, as the readers of tools' exports hand them on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.output.schema import ImageResult
from pipeline.review.labels import ReviewedImage, ReviewedPerson

__all__ = ["answer", "answered_untouched", "everybody"]


def everybody(image: ImageResult, *, stated: bool = True) -> list[ReviewedPerson]:
    """The image's persons as they are; `stated` says whether the tool kept which is which."""
    assert image.poses is not None
    flags = np.full(image.poses.keypoints.shape[1], 2, np.int8)
    return [
        ReviewedPerson(pose.keypoints.copy(), flags.copy(), person=number if stated else None)
        for number, pose in enumerate(image.poses)
    ]


def answer(
    image: ImageResult,
    persons: Sequence[ReviewedPerson],
    reviewer: str = "ann",
    *,
    sha256: str | None = "",
    key: str | None = "",
    size: tuple[int, int] | None = None,
    marked: bool = True,
) -> ReviewedImage:
    """What a reviewer says about an image, and marks as looked at; "" for its own sha256 and key."""
    width, height = size or (image.width or 0, image.height or 0)
    return ReviewedImage(
        image_key=image.image_key if key == "" else key,
        sha256=image.sha256 if sha256 == "" else sha256,
        reviewer=reviewer,
        width=width,
        height=height,
        persons=tuple(persons),
        place=f"answers.json: image {image.image_key}",
        is_marked=marked,
        pre_labels=None if image.poses is None else dict.fromkeys(range(len(image.poses)), 0x1FFFF),
    )


def answered_untouched(path: Path) -> Path:
    """Label Studio's tasks with their pre-labels submitted as they were; other tools' files are answers."""
    if path.suffix == ".json":
        tasks = json.loads(path.read_text())
        if not isinstance(tasks, list):
            return path
        for number, task in enumerate(tasks):
            if "predictions" not in task:
                return path
            result = task.pop("predictions")[0]["result"]
            task["annotations"] = [{"id": number, "completed_by": 1, "result": result}]
        path.write_text(json.dumps(tasks))
    return path
