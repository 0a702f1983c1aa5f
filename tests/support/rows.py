"""Made-up rows: poses, loaded images and results."""

from __future__ import annotations

import numpy as np

from pipeline.inputs.units import LoadedImage
from pipeline.output.schema import ImageResult
from posrefine.errors import ImageStatus
from posrefine.poses import Poses


def some_poses(persons: int, seed: int, *, one_view: bool = False) -> Poses:
    rng = np.random.default_rng(seed)
    spread = rng.random((persons, 17), np.float32)
    return Poses(
        keypoints=rng.random((persons, 17, 2), np.float32) * 500,
        keypoint_scores=rng.random((persons, 17), np.float32),
        scores=rng.random(persons, np.float32),
        spread_px=np.full_like(spread, np.nan) if one_view else spread,
    )


def result_of(image: LoadedImage, poses: Poses | None) -> ImageResult:
    return ImageResult(
        image_key=image.image_key,
        image_id=7,
        uri=image.uri,
        width=image.width,
        height=image.height,
        exif_orientation=image.exif_orientation,
        sha256=image.sha256,
        status=image.status,
        error=image.error,
        poses=poses,
    )


def result(index: int, poses: Poses | None) -> ImageResult:
    failed = poses is None
    return ImageResult(
        image_key=f"{index}.jpg",
        image_id=index if index % 2 else None,
        uri=f"s3://b/{index}.jpg",
        width=None if failed else 640,
        height=None if failed else 480,
        exif_orientation=1,
        sha256=None if failed else "00ff",
        status=ImageStatus.CORRUPT if failed else ImageStatus.OK,
        error="no JPEG" if failed else None,
        poses=poses,
    )
