"""The published way from an image to a network input, on OpenCV itself, to hold the product against."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def reference_input(image: NDArray[np.uint8], input_size: int, scale: float) -> NDArray[np.uint8]:
    """The image as the network sees it, by HRNet's recipe."""
    size_wh, source, target = _frames(image.shape[:2], input_size, scale)
    return cv2.warpAffine(image, cv2.getAffineTransform(source, target), size_wh)


def reference_way_back(image_hw: tuple[int, int], input_size: int, scale: float) -> NDArray[np.float64]:
    """The 2x3 matrix from input px to image px, by HRNet's recipe."""
    _, source, target = _frames(image_hw, input_size, scale)
    return cv2.getAffineTransform(target, source)


def _frames(
    image_hw: tuple[int, ...], input_size: int, scale: float
) -> tuple[tuple[int, int], NDArray[np.float32], NDArray[np.float32]]:
    height, width = image_hw
    short = int((input_size + 63) // 64 * 64)
    if width < height:
        size = int(short * scale), int(int((short / width * height + 63) // 64 * 64) * scale)
        covered = width / 200.0
    else:
        size = int(int((short / height * width + 63) // 64 * 64) * scale), int(short * scale)
        covered = size[0] / size[1] * height / 200.0
    centre = np.array([int(width / 2.0 + 0.5), int(height / 2.0 + 0.5)])
    source = _triangle(centre, np.array([0.0, covered * 200.0 * -0.5]))
    target = _triangle(np.array([size[0] * 0.5, size[1] * 0.5]), np.array([0, size[0] * -0.5], np.float32))
    return size, source, target


def _triangle(middle: NDArray[np.number], direction: NDArray[np.number]) -> NDArray[np.float32]:
    points = np.zeros((3, 2), np.float32)
    points[0], points[1] = middle, middle + direction
    step = points[0] - points[1]
    points[2] = points[1] + np.array([-step[1], step[0]], np.float32)
    return points
