"""Pillow images of every mode as 8-bit RGB: one rule for 16-bit grey, alpha and samples of other kinds."""

from __future__ import annotations

import numpy as np
from PIL import Image

__all__ = ["eight_bit_rgb", "has_eight_bit_meaning"]

_NO_8_BIT_MEANING = {"I", "F", "LAB", "HSV"}


def has_eight_bit_meaning(image: Image.Image) -> bool:
    """Whether it is known which samples are black and which are white, so that `eight_bit_rgb` takes it."""
    return image.mode not in _NO_8_BIT_MEANING


def eight_bit_rgb(image: Image.Image) -> Image.Image:
    """The image in mode RGB.

    16-bit grey keeps its high byte. Alpha is dropped, after colours and greys that were multiplied by it are
    divided by it again.
    """
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "La":  # Pillow goes from here to LA alone
        image = image.convert("LA")
    if "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")
