"""The EXIF orientation of an image: finding it, and turning pixels by it.

Reads the one tag from the raw block, because asking an image library for it costs a second parse of every
photo and makes a broken EXIF block a problem of the whole image. Values after the EXIF 2.3 standard, tag
0x0112.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

__all__ = ["INVERSE", "UPRIGHT", "orient", "orientation_of"]

UPRIGHT = 1
INVERSE = {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 8, 7: 7, 8: 6}
"""The orientation that undoes another."""

_TAG = 0x0112

# The standard says SHORT; some cameras write a LONG, and readers take any integer.
_INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}


def orientation_of(exif: bytes | None) -> int:
    """Orientation 1 to 8 of a raw EXIF block; 1 where there is none, or none that can be read.

    The block is a TIFF structure, with or without the `Exif` prefix of JPEG's APP1 segment.
    """
    tiff = (exif or b"").removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return UPRIGHT
    try:
        return _find_tag(tiff, order)
    except struct.error:
        return UPRIGHT


def _find_tag(tiff: bytes, order: str) -> int:
    (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
    (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
    for entry in range(entries):
        tag, kind, _, value = struct.unpack_from(f"{order}HHI4s", tiff, directory + 2 + 12 * entry)
        if tag == _TAG:
            return _orientation(kind, value, order)
    return UPRIGHT


def _orientation(kind: int, value: bytes, order: str) -> int:
    code = _INTEGERS.get(kind)
    orientation = struct.unpack_from(f"{order}{code}", value)[0] if code else UPRIGHT
    return int(orientation) if orientation in INVERSE else UPRIGHT


def orient(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Pixels [H, W, 3] as the camera stored them, turned upright: [H, W, 3], or [W, H, 3] for 5 to 8."""
    if orientation == UPRIGHT:
        return pixels
    turned = pixels.transpose(1, 0, 2) if orientation >= 5 else pixels
    rows = slice(None, None, -1) if orientation in (3, 4, 7, 8) else slice(None)
    columns = slice(None, None, -1) if orientation in (2, 3, 6, 7) else slice(None)
    return np.ascontiguousarray(turned[rows, columns])
