"""Decodes the corpus of image_kinds.py with our gate, Pillow and OpenCV; writes the table of docs/image_formats.md."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from image_kinds import Kind, image_kinds
from numpy.typing import NDArray
from page_marks import renewed
from PIL import Image, ImageOps

from pipeline.images.gate import ImageLimits, decode_image
from posrefine.errors import ImageError

PAGE = Path(__file__).resolve().parents[1] / "docs" / "image_formats.md"
START = "<!-- who reads what, written by `python benchmarks/image_kinds_table.py` -->"
END = "<!-- end of table -->"

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Reading:
    """What three readers make of one file: [H, W, 3] uint8 RGB, or None for those that refuse it."""

    kind: Kind
    ours: Pixels | None
    status: str
    error: str
    pillow: Pixels | None
    opencv: Pixels | None


def read(kind: Kind) -> Reading:
    ours, status, error = None, "ok", ""
    try:
        ours = decode_image(kind.data, limits=ImageLimits(), exif="apply").pixels
    except ImageError as refused:
        status, error = refused.status.value, str(refused)
    return Reading(kind, ours, status, error, by_pillow(kind.data), by_opencv(kind.data))


def by_pillow(data: bytes) -> Pixels | None:
    """Upright, alpha dropped, with the limits and checks that Pillow has by default."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                if image.width * image.height > ImageLimits().max_pixels:
                    return None
                upright = ImageOps.exif_transpose(image)
                rgb = upright.convert("LA") if upright.mode == "La" else upright
                return np.array(
                    rgb.convert("RGBA").convert("RGB") if "transparency" in rgb.info else rgb.convert("RGB")
                )
    except Exception:  # noqa: BLE001 - whatever a reader says of a file that it does not read
        return None


def by_opencv(data: bytes) -> Pixels | None:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if pixels is None else np.ascontiguousarray(pixels[:, :, ::-1])


def same(first: Pixels | None, second: Pixels | None) -> bool:
    return first is not None and second is not None and np.array_equal(first, second)


def table() -> str:
    readings = [read(kind) for kind in image_kinds()]
    lines = ["| file | PosRefine | Pillow | OpenCV |", "|---|---|---|---|"]
    lines += [
        f"| {r.kind.name} | {r.status} | {_cell(r, r.pillow)} | {_cell(r, r.opencv)} |" for r in readings
    ]
    return "\n".join(lines)


def _cell(reading: Reading, pixels: Pixels | None) -> str:
    if pixels is None:
        return "no"
    if reading.ours is None:
        return "reads it"
    if pixels.shape != reading.ours.shape:
        return "not turned"
    furthest = int(np.abs(pixels.astype(int) - reading.ours).max())
    return "same pixels" if furthest == 0 else f"differs by up to {furthest}"


def with_table(page: str) -> str:
    """The page with its table renewed."""
    return renewed(page, START, END, table())


def main() -> None:
    PAGE.write_text(with_table(PAGE.read_text()))


if __name__ == "__main__":
    main()
