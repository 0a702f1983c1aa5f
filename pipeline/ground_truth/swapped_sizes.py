"""The one rule about annotation files with swapped widths and heights, as CrowdPose's own are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["are_swapped"]


def are_swapped(
    found: NDArray[np.signedinteger], stated: NDArray[np.signedinteger], turned: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Whether an image's stated size is its own with the sides swapped, and nothing else is wrong with it.

    Such a size harms nothing, for keypoints are in px of the image: evaluation and training say so and go on.
    An image that its EXIF orientation turns on its side is no such one, for then the annotations may be of
    the other frame.

    Args:
        found: [N, 2], width and height of the images, px.
        stated: [N, 2], of the annotation file.
        turned: [N], whether the EXIF orientation is a quarter turn, 5 to 8.
    """
    swapped: NDArray[np.bool_] = (found == stated[:, ::-1]).all(axis=1) & (found != stated).any(axis=1)
    return swapped & ~turned
