"""Comparing sets of poses whose order does not matter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

JOINT_TOLERANCE_PX = 0.05
SCORE_TOLERANCE = 1e-4


def assert_same_poses(
    keypoints: NDArray[np.float32],
    keypoint_scores: NDArray[np.float32],
    scores: NDArray[np.float32],
    *,
    expected_keypoints: NDArray[np.generic],
    expected_scores: NDArray[np.generic],
) -> None:
    """Fails unless every expected pose is found, and nothing else.

    `expected_keypoints` is [N, K, 3]: x and y in image px, then the joint's score.
    """
    expected = np.asarray(expected_keypoints, np.float64)
    assert keypoints.shape == expected[..., :2].shape
    distance = np.linalg.norm(expected[:, None, :, :2] - keypoints[None], axis=-1).max(-1)
    match = distance.argmin(1)
    assert sorted(match) == list(range(len(match))), "two expected poses fall on one found pose"
    assert distance.min(1).max() < JOINT_TOLERANCE_PX
    np.testing.assert_allclose(keypoint_scores[match], expected[..., 2], rtol=0, atol=SCORE_TOLERANCE)
    np.testing.assert_allclose(scores[match], expected_scores, rtol=0, atol=SCORE_TOLERANCE)
