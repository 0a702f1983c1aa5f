"""Object keypoint similarity (OKS), to the bit as pycocotools computes it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["joint_similarity", "object_keypoint_similarity"]


def object_keypoint_similarity(
    detected: NDArray[np.float64],
    annotated: NDArray[np.float64],
    labelled: NDArray[np.bool_],
    boxes: NDArray[np.float64],
    areas: NDArray[np.float64],
    sigmas: NDArray[np.float64],
) -> NDArray[np.float64]:
    """OKS of P pairs of a detection and an annotated person.

    For a person without labelled joints, the distance is that from the box doubled around its centre line
    (x - w .. x + 2w, y - h .. y + 2h): detections inside such a box cost nothing.

    Args:
        detected: [P, K, 2] image px.
        annotated: [P, K, 2] image px.
        labelled: [P, K].
        boxes: [P, 4] left, top, width, height of the annotated person, image px.
        areas: [P] of the annotated person, square px.
        sigmas: [K].

    Returns:
        [P] in 0..1.
    """
    offsets = detected - annotated
    blank: NDArray[np.bool_] = np.logical_not(labelled.any(axis=1))
    if blank.any():
        offsets[blank] = _outside_doubled_box(detected[blank], boxes[blank])
    similarity = joint_similarity(offsets, areas, sigmas)
    return _mean_over(similarity, labelled | blank[:, None])


def joint_similarity(
    offsets: NDArray[np.float64], areas: NDArray[np.float64], sigmas: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[P, K] OKS of single joints, exp(-d^2 / (2 area (2 sigma)^2)), from offsets [P, K, 2] in image px."""
    squared = offsets[..., 0] ** 2 + offsets[..., 1] ** 2
    exponent: NDArray[np.float64] = squared / (sigmas * 2) ** 2 / (areas + np.spacing(1))[:, None] / 2
    return np.exp(-exponent)


def _outside_doubled_box(points: NDArray[np.float64], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    low = (boxes[:, :2] - boxes[:, 2:])[:, None]
    high = (boxes[:, :2] + boxes[:, 2:] * 2)[:, None]
    return np.maximum(0.0, low - points) + np.maximum(0.0, points - high)


def _mean_over(values: NDArray[np.float64], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[P] means of the chosen entries of each row of [P, K].

    Rows are grouped by how many entries they choose: summing zeros in the gaps would add in another order
    than the reference does and change last bits, and with them decisions at the thresholds.
    """
    counts = chosen.sum(axis=1)
    means = np.zeros(len(values))
    for count in np.unique(counts):
        rows = counts == count
        compact = values[rows][chosen[rows]].reshape(-1, count)
        means[rows] = compact.sum(axis=1) / count
    return means
