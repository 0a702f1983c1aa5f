"""A corpus of image files as they are found in the wild: one small file of each kind, from a rendered picture.

python benchmarks/image_kinds.py FOLDER    # writes the files, to be tried with any other software
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from image_parts import (
    before_marker,
    bmp,
    encoded,
    exif,
    exif_segment,
    lossless_grey_jpeg,
    png_chunk,
    png_with,
    segment,
    tiff,
    with_scan_end,
    without_segments,
)
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from posrefine.image_formats import PILLOW_FORMATS
from posrefine.synthetic import SceneSpec, render_scene

__all__ = ["Kind", "image_kinds"]

Status = Literal["ok", "unsupported", "corrupt", "truncated", "too_large"]
_WIDTH_PX, _HEIGHT_PX = 121, 83
_STRAY = b"\x12\x00\x34"
_MARKERS = {"DQT": 0xDB, "DHT": 0xC4, "SOF": 0xC0, "SOS": 0xDA, "COM": 0xFE}


@dataclass(frozen=True)
class Kind:
    """One file and what should become of it."""

    name: str
    suffix: str
    data: bytes
    status: Status = "ok"

    @property
    def file_name(self) -> str:
        return "".join(letter if letter.isalnum() else "_" for letter in self.name) + self.suffix


@cache
def image_kinds() -> tuple[Kind, ...]:
    """All kinds, in the order of the table."""
    pixels = render_scene(7, SceneSpec(width_px=_WIDTH_PX, height_px=_HEIGHT_PX, people=(1, 2))).image
    return (
        *_ordinary(pixels),
        *_odd_jpeg_headers(encoded(pixels, "JPEG", quality=90)),
        *_filled_jpegs(pixels),
        *_rare_jpegs(pixels),
        *_damaged_jpegs(pixels),
        *_pngs(encoded(pixels, "PNG")),
        *_tiffs(pixels),
        *_bmps(pixels),
    )


def _ordinary(pixels: NDArray[np.uint8]) -> Iterator[Kind]:
    yield Kind("JPEG", ".jpg", encoded(pixels, "JPEG", quality=90))
    yield Kind("JPEG, progressive", ".jpg", encoded(pixels, "JPEG", quality=90, progressive=True))
    yield Kind("JPEG, grey", ".jpg", encoded(pixels, "JPEG", "L", quality=90))
    yield Kind("JPEG, CMYK", ".jpg", encoded(pixels, "JPEG", "CMYK", quality=90))
    yield Kind("PNG", ".png", encoded(pixels, "PNG"))
    yield Kind("PNG, palette", ".png", encoded(pixels, "PNG", "P"))
    yield Kind("PNG, alpha", ".png", encoded(pixels, "PNG", "RGBA"))
    yield Kind("WebP", ".webp", encoded(pixels, "WEBP"))
    yield Kind("WebP, lossless", ".webp", encoded(pixels, "WEBP", lossless=True))
    yield Kind("GIF", ".gif", encoded(pixels, "GIF", "P"))
    yield Kind("TIFF, LZW", ".tiff", encoded(pixels, "TIFF", compression="tiff_lzw"))
    yield Kind("BMP", ".bmp", encoded(pixels, "BMP"))
    if "AVIF" in PILLOW_FORMATS:
        yield Kind("AVIF", ".avif", encoded(pixels, "AVIF"))
    if "HEIF" in PILLOW_FORMATS:
        yield Kind("HEIC (with pillow-heif)", ".heic", encoded(pixels, "HEIF"))


def _odd_jpeg_headers(jpeg: bytes) -> Iterator[Kind]:
    for end in ((0, 0, 0), (0, 63, 1), (1, 63, 0)):
        yield Kind(
            f"JPEG, scan header ends in {end[0]}, {end[1]}, {end[2]}", ".jpg", with_scan_end(jpeg, end)
        )
    commented = before_marker(jpeg, 0xDB, segment(0xFE, b"a comment"))
    for name, marker in _MARKERS.items():
        yield Kind(f"JPEG, stray bytes before {name}", ".jpg", before_marker(commented, marker, _STRAY))
    behind_jfif = before_marker(jpeg, 0xDB, _STRAY + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x/>"))
    yield Kind("JPEG, stray bytes before APP1", ".jpg", behind_jfif)
    profile = b"ICC_PROFILE\0"
    first, second = (segment(0xE2, profile + bytes([number, 2]) + bytes(300)) for number in (1, 2))
    yield Kind("JPEG, second half of ICC profile missing", ".jpg", before_marker(jpeg, 0xDB, first))
    yield Kind("JPEG, ICC profile out of order", ".jpg", before_marker(jpeg, 0xDB, second + first))
    yield Kind("JPEG, ICC profile behind the frame header", ".jpg", before_marker(jpeg, 0xDA, first + second))
    yield Kind("JPEG, JFIF 2.1", ".jpg", jpeg.replace(b"JFIF\0\1\1", b"JFIF\0\2\1"))
    yield Kind("JPEG, short APP14", ".jpg", before_marker(jpeg, 0xDB, segment(0xEE, b"Adobe\0d")))
    for kind, words in (("H", "SHORT"), ("I", "LONG")):
        for order, end_words in (("<", "little-endian"), (">", "big-endian")):
            data = before_marker(jpeg, 0xDB, exif_segment(6, kind, order))
            yield Kind(f"JPEG, EXIF orientation as {words}, {end_words}", ".jpg", data)


def _filled_jpegs(pixels: NDArray[np.uint8]) -> Iterator[Kind]:
    restarts = encoded(pixels, "JPEG", quality=90, restart_marker_rows=1)
    yield Kind("JPEG, restart markers", ".jpg", restarts)
    for name, filling in (("one 0xFF", b"\xff"), ("zeros", bytes(3)), ("0x7F", b"\x7f" * 6)):
        filled = restarts
        for number in range(-(-_HEIGHT_PX // 16) - 1):
            filled = before_marker(filled, 0xD0 + number, filling)
        yield Kind(f"MJPEG frame, filled with {name} before restart markers", ".jpg", filled)
    yield Kind("MJPEG frame without Huffman tables", ".jpg", without_segments(encoded(pixels, "JPEG"), 0xC4))
    jpeg = encoded(pixels, "JPEG", quality=90)
    yield Kind("JPEG, filled before its end", ".jpg", before_marker(jpeg, 0xD9, bytes(500), last=True))
    yield Kind("JPEG, bytes behind its end", ".jpg", jpeg + b"more of the maker's")
    progressive = encoded(pixels, "JPEG", quality=90, progressive=True)
    for name, marker in (("DHT", 0xC4), ("SOS", 0xDA)):
        data = before_marker(progressive, marker, _STRAY, last=True)
        yield Kind(f"JPEG, progressive, stray bytes before the last {name}", ".jpg", data)


def _rare_jpegs(pixels: NDArray[np.uint8]) -> Iterator[Kind]:
    jpeg = encoded(pixels, "JPEG", quality=90)
    yield Kind("JPEG, lossless, grey", ".jpg", lossless_grey_jpeg(pixels[:, :, 1]))
    yield Kind("JPEG, hierarchical (SOF5)", ".jpg", jpeg.replace(b"\xff\xc0", b"\xff\xc5", 1), "unsupported")


def _damaged_jpegs(pixels: NDArray[np.uint8]) -> Iterator[Kind]:
    jpeg = encoded(np.tile(pixels, (4, 4, 1)), "JPEG", quality=95)
    middle = len(jpeg) // 2
    missing = jpeg[:middle] + jpeg[middle + 1000 :]
    yield Kind("JPEG, 1,000 bytes of its scan missing", ".jpg", missing, "corrupt")
    also = with_scan_end(missing, (0, 0, 0))
    yield Kind("JPEG, the same, and its scan header ends in 0, 0, 0", ".jpg", also, "corrupt")
    yield Kind("JPEG, cut in the middle", ".jpg", jpeg[:middle], "truncated")
    bomb = bytearray(encoded(pixels, "JPEG"))
    frame = bomb.index(b"\xff\xc0")
    bomb[frame + 5 : frame + 9] = (60_000).to_bytes(2, "big") * 2
    yield Kind("JPEG, says that it has 60,000 x 60,000 px", ".jpg", bytes(bomb), "too_large")


def _pngs(png: bytes) -> Iterator[Kind]:
    noise = np.random.default_rng(0).bytes(2**21)
    profile = png_chunk(b"iCCP", b"profile\0\0" + zlib.compress(noise, 1))
    yield Kind("PNG, ICC profile of 2 MB", ".png", png_with(png, profile))
    for size in (2, 64):
        text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(size * 2**20), 9))
        yield Kind(f"PNG, {size} MB of compressed text", ".png", png_with(png, text))
    international = png_chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(2**21), 9))
    yield Kind("PNG, 2 MB of compressed international text", ".png", png_with(png, international))
    for name in (b"tEXt", b"gAMA", b"tIME"):
        chunk = png_chunk(name, {b"tEXt": b"Comment\0a"}.get(name, bytes(7 if name == b"tIME" else 4)), 1)
        yield Kind(f"PNG, wrong checksum of {name.decode()}", ".png", png_with(png, chunk))
    yield Kind("PNG, EXIF orientation as LONG", ".png", png_with(png, png_chunk(b"eXIf", exif(6, "I", "<"))))
    damaged = bytearray(png)
    damaged[len(png) // 2] ^= 0x10
    yield Kind("PNG, a bit of its pixels flipped", ".png", bytes(damaged), "corrupt")
    yield Kind("PNG, cut in the middle", ".png", png[: len(png) // 2], "truncated")


def _tiffs(pixels: NDArray[np.uint8]) -> Iterator[Kind]:
    grey_alpha = np.dstack([pixels[:, :, 1] // 2, np.full(pixels.shape[:2], 128, np.uint8)])
    yield Kind("TIFF, grey and alpha", ".tiff", tiff(grey_alpha, 2))
    yield Kind("TIFF, grey and premultiplied alpha", ".tiff", tiff(grey_alpha, 1))
    yield Kind("BigTIFF", ".tiff", tiff(pixels, big=True))
    yield Kind("BigTIFF, big-endian", ".tiff", tiff(pixels, big=True, order=">"), "unsupported")
    yield Kind("BigTIFF, cut in the middle", ".tiff", tiff(pixels, big=True)[:2000], "truncated")


def _bmps(pixels: NDArray[np.uint8]) -> Iterator[Kind]:
    yield Kind("BMP, bit fields 5-6-5", ".bmp", bmp(pixels, (0xF800, 0x7E0, 0x1F), 16))
    yield Kind("BMP, bit fields 8-8-8", ".bmp", bmp(pixels, (0xFF0000, 0xFF00, 0xFF), 32))
    yield Kind("BMP, bit fields 4-4-4", ".bmp", bmp(pixels, (0xF00, 0xF0, 0xF), 16), "unsupported")
    data = bmp(pixels, (0x3FF00000, 0xFFC00, 0x3FF), 32)
    yield Kind("BMP, bit fields 10-10-10", ".bmp", data, "unsupported")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for kind in image_kinds():
        (folder / kind.file_name).write_bytes(kind.data)
    print(f"{len(image_kinds())} files in {folder}")


if __name__ == "__main__":
    main()
