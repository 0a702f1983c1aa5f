"""The map between image and network input: a scale and a shift for each axis, with OpenCV's rounding.

Input pixels are reproduced exactly only if the matrix is. HRNet builds it from three float32 points
(`get_affine_transform`), `cv2.getAffineTransform` solves for it, and `cv2.warpAffine` inverts it; each of the
three steps rounds, and a last bit can move a sample by 1/32 px.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = ["Affine", "input_to_image"]

_HRNET_SCALE_PX = 200.0
"""HRNet measures boxes in units of 200 px; going through them costs a rounding that has to be reproduced."""


class Affine(NamedTuple):
    """x to scale_x * x + shift_x and y to scale_y * y + shift_y."""

    scale_x: float
    shift_x: float
    scale_y: float
    shift_y: float


def input_to_image(centre: tuple[float, float], width_px: float, input_hw: tuple[int, int]) -> Affine:
    """The map that warping samples an image with, and that takes found joints back.

    Args:
        centre: x and y that fall on the middle of the input, image px.
        width_px: how much of the image, to either side of it, the input's width covers, image px.
        input_hw: height and width of the input.

    Returns:
        From input px to image px, the same scale both ways up to rounding.
    """
    source, target = _three_points(centre, width_px, input_hw)
    return _inverse(_affine_through(source, target))


_Point = tuple[float, float]


def _three_points(
    centre: _Point, width_px: float, input_hw: tuple[int, int]
) -> tuple[tuple[_Point, ...], tuple[_Point, ...]]:
    """In both frames: the middle, a point half a width above it, and one half a width to the left of that."""
    height, width = input_hw
    source_width = (width_px / _HRNET_SCALE_PX) * _HRNET_SCALE_PX
    source = _corner_points((_float32(centre[0]), _float32(centre[1])), 0.5 * source_width)
    return source, _corner_points((0.5 * width, 0.5 * height), 0.5 * width)


def _corner_points(middle: _Point, half_width: float) -> tuple[_Point, ...]:
    x, y = middle
    above = _float32(y - half_width)
    left = _float32(x - _float32(y - above))
    return (x, y), (x, above), (left, above)


def _affine_through(source: tuple[_Point, ...], target: tuple[_Point, ...]) -> list[float]:
    """The six numbers of the affine map that takes the three source points to the target points."""
    rows: list[list[float]] = []
    for (x, y), (u, v) in zip(source, target, strict=True):
        rows.append([x, y, 1.0, 0.0, 0.0, 0.0, u])
        rows.append([0.0, 0.0, 0.0, x, y, 1.0, v])
    return _solve(rows)


def _solve(rows: list[list[float]]) -> list[float]:
    """Gaussian elimination with partial pivoting in the order of OpenCV's, whose last bits it reproduces."""
    size = len(rows)
    for i in range(size):
        pivot = max(range(i, size), key=lambda j: abs(rows[j][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        factor = -1.0 / rows[i][i]
        for row in rows[i + 1 :]:
            alpha = row[i] * factor
            for k in range(i + 1, size + 1):
                row[k] += alpha * rows[i][k]
    solution = [0.0] * size
    for i in reversed(range(size)):
        rest = rows[i][size]
        for k in range(i + 1, size):
            rest -= rows[i][k] * solution[k]
        solution[i] = rest / rows[i][i]
    return solution


def _inverse(matrix: list[float]) -> Affine:
    """warpAffine's inversion; off the diagonal is rounding noise, needed only for the shifts' last bits."""
    xx, xy, x0, yx, yy, y0 = matrix
    factor = 1.0 / (xx * yy - xy * yx)
    inverse_xx, inverse_yy = yy * factor, xx * factor
    inverse_xy, inverse_yx = xy * -factor, yx * -factor
    return Affine(
        scale_x=inverse_xx,
        shift_x=-inverse_xx * x0 - inverse_xy * y0,
        scale_y=inverse_yy,
        shift_y=-inverse_yx * x0 - inverse_yy * y0,
    )


def _float32(value: float) -> float:
    return float(struct.unpack("f", struct.pack("f", value))[0])
