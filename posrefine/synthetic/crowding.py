"""CrowdPose's measure of how much the persons of an image stand in each other's way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["crowd_index"]


def crowd_index(keypoints: NDArray[np.floating], boxes_xywh: NDArray[np.floating]) -> float:
    """Crowd index of one image (Li et al., CVPR 2019, section 4.1).

    The mean over persons of (labelled joints of the others inside the person's box) / (labelled joints of the
    person), at most 1 as in the published files. Nobody, or one person alone, has index 0.

    Args:
        keypoints: [N, K, 3], x, y in image px and visibility; 0 is not labelled.
        boxes_xywh: [N, 4], image px, around the whole person, hidden parts included.
    """
    labelled = keypoints[:, :, 2] > 0
    own = labelled.sum(axis=1)
    if len(keypoints) < 2 or not own.any():
        return 0.0
    low, high = boxes_xywh[:, None, None, :2], boxes_xywh[:, None, None, :2] + boxes_xywh[:, None, None, 2:]
    points = keypoints[None, :, :, :2]
    inside = ((points >= low) & (points <= high)).all(axis=-1) & labelled[None]
    others = inside.sum(axis=(1, 2)) - inside.sum(axis=2).diagonal()
    ratios = others[own > 0] / own[own > 0]
    return float(min(ratios.mean(), 1.0))
