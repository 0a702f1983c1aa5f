"""Small labelled images for tests of training."""

from __future__ import annotations

import numpy as np

from posrefine.training.samples import LabelledImage


def labelled_image(
    keypoints: object,
    size_px: tuple[int, int] = (128, 128),
    area_px2: float = 1e4,
    diagonal_px: object = 100.0,
) -> LabelledImage:
    """A black image with these persons ([P, K, 3]) of equal size."""
    points = np.asarray(keypoints, np.float32)
    return LabelledImage(
        pixels=np.zeros((*size_px, 3), np.uint8),
        keypoints=points,
        areas_px2=np.full(len(points), area_px2, np.float32),
        diagonals_px=np.broadcast_to(np.asarray(diagonal_px, np.float32), len(points)).copy(),
        ignored=np.zeros(size_px, np.bool_),
    )
