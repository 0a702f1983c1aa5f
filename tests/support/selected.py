"""Runs of made-up images, and the queues that are chosen from them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from support.runs import write_run

from pipeline.output.review_queue import ReviewQueue, read_queue
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import ImageResult
from pipeline.review.select import SelectOptions, select_images
from pipeline.storage import Storage
from posrefine.errors import ImageStatus
from posrefine.poses import Poses

__all__ = ["image", "numbers", "people", "plain", "selected"]

STANDING = np.stack([np.sin(np.arange(17.0)) * 20, np.arange(17) * 9.0], axis=1)
"""Joints of a person, px."""


def people(
    seed: int, count: int = 1, *, score: float = 0.9, spread_px: float = 1.0, size: float = 1.0
) -> Poses:
    """Persons who stand anywhere, much alike."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform((20, 20), (560, 300), (count, 1, 2))
    shapes = STANDING + rng.normal(0, 2, (count, 17, 2))
    return Poses(
        keypoints=(corners + shapes * size * rng.uniform(0.95, 1.05)).astype(np.float32),
        keypoint_scores=np.full((count, 17), 0.8, np.float32),
        scores=np.full(count, score, np.float32),
        spread_px=np.full((count, 17), spread_px, np.float32)
        * rng.uniform(0.9, 1.1, (count, 1)).astype(np.float32),
    )


def image(
    number: int, poses: Poses | None, *, folder: str = "a", status: ImageStatus = ImageStatus.CORRUPT
) -> ImageResult:
    """An image with these persons, or one that failed."""
    ok = poses is not None
    return ImageResult(
        image_key=f"{folder}/{number}.jpg",
        image_id=None,
        uri=f"s3://b/{folder}/{number}.jpg",
        width=640 if ok else None,
        height=480 if ok else None,
        exif_orientation=1,
        sha256=f"{number + 1:016x}" + "0" * 48 if ok else None,
        status=ImageStatus.OK if ok else status,
        error=None if ok else "no JPEG",
        poses=poses,
    )


def selected(units: Sequence[Sequence[ImageResult]], **options: object) -> ReviewQueue:
    """The queue that is chosen from a run of these units; `other` is the run that `against` names."""
    with tempfile.TemporaryDirectory() as folder:
        other = options.pop("other", None)
        if other is not None:
            uri = write_run(Path(folder, "other"), [other])  # type: ignore[list-item]
            options["against"] = RunOutput.at(uri, Storage())
        output = RunOutput.at(write_run(Path(folder, "run"), units), Storage())
        queue, _ = select_images(output, SelectOptions(**options))  # type: ignore[arg-type]
        assert read_queue(output) == queue
        return queue


def plain(count: int, **changes: object) -> list[ImageResult]:
    """So many images of a person each."""
    return [image(number, people(number, **changes)) for number in range(count)]  # type: ignore[arg-type]


numbers = st.integers(0, 10_000)
"""Seeds."""
