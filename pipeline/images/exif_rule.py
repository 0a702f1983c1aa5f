"""What is done with the orientation in a picture's EXIF data; apart from the decoders, for settings."""

from __future__ import annotations

from typing import Literal

__all__ = ["ExifRule"]

ExifRule = Literal["apply", "ignore"]
"""`apply` turns the pixels upright; `ignore` leaves them as stored, as COCO's own protocol does."""
