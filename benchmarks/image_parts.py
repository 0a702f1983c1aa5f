"""Pieces of image files that no library writes: odd segments, chunks and directories, byte by byte."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = [
    "before_marker",
    "bmp",
    "encoded",
    "exif",
    "exif_segment",
    "lossless_grey_jpeg",
    "png_chunk",
    "png_with",
    "segment",
    "tiff",
    "with_scan_end",
    "without_segments",
]

Pixels = NDArray[np.uint8]


def encoded(pixels: Pixels, kind: str, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


def segment(marker: int, payload: bytes) -> bytes:
    """A JPEG segment."""
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def before_marker(jpeg: bytes, marker: int, more: bytes, last: bool = False) -> bytes:
    """Bytes put before the first marker of a kind, or the last one."""
    found = jpeg.rindex if last else jpeg.index
    at = found(bytes([0xFF, marker]))
    return jpeg[:at] + more + jpeg[at:]


def with_scan_end(jpeg: bytes, end: tuple[int, int, int]) -> bytes:
    """Other last three bytes in the header of the first scan."""
    start = jpeg.index(b"\xff\xda") + 2
    after = start + int.from_bytes(jpeg[start : start + 2], "big")
    return jpeg[: after - 3] + bytes(end) + jpeg[after:]


def without_segments(jpeg: bytes, marker: int) -> bytes:
    """Without the segments of a kind that stand before the first scan."""
    while (at := jpeg.find(bytes([0xFF, marker]), 0, jpeg.index(b"\xff\xda"))) >= 0:
        jpeg = jpeg[:at] + jpeg[at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big") :]
    return jpeg


def lossless_grey_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """A lossless JPEG (SOF3) of [H, W] uint8, each sample told by its left neighbour, with codes of 5 bits."""
    left = np.empty(pixels.shape, int)
    left[:, 1:], left[1:, 0], left[0, 0] = pixels[:, :-1], pixels[:-1, 0], 128
    bits = ""
    for difference in (pixels - left).ravel().tolist():
        size = abs(difference).bit_length()
        value = difference if difference > 0 else difference + (1 << size) - 1
        bits += f"{size:05b}" + (f"{value:0{size}b}" if size else "")
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    frame = struct.pack(">BHHB", 8, *pixels.shape, 1) + b"\1\x11\0"
    codes = bytes([0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)])
    head = segment(0xC3, frame) + segment(0xC4, codes) + segment(0xDA, b"\1\1\0\1\0\0")
    return b"\xff\xd8" + head + data + b"\xff\xd9"


def exif(orientation: int, kind: str, order: str) -> bytes:
    """An EXIF block with an orientation as SHORT ("H") or LONG ("I"), in byte order "<" or ">"."""
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8)
    entry = struct.pack(f"{order}HHHI", 1, 0x0112, {"H": 3, "I": 4}[kind], 1)
    return head + entry + struct.pack(order + kind, orientation).ljust(4, b"\0") + bytes(4)


def exif_segment(orientation: int, kind: str, order: str) -> bytes:
    return segment(0xE1, b"Exif\0\0" + exif(orientation, kind, order))


def png_chunk(kind: bytes, data: bytes, checksum_off_by: int = 0) -> bytes:
    checksum = zlib.crc32(kind + data) ^ checksum_off_by
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def png_with(png: bytes, chunk: bytes) -> bytes:
    """A chunk put behind the header of a PNG."""
    return png[:33] + chunk + png[33:]


def tiff(pixels: Pixels, extra_samples: int | None = None, *, big: bool = False, order: str = "<") -> bytes:
    """An uncompressed TIFF or BigTIFF of [H, W, 1 to 4] uint8 in one strip, by the six tags that it needs."""
    height, width, samples = pixels.shape
    data, start = pixels.tobytes(), 16 if big else 8
    tags: list[tuple[int, str, Sequence[int]]] = [
        *((256, "I", [width]), (257, "I", [height]), (258, "H", [8] * samples), (259, "H", [1])),
        *((262, "H", [2 if samples > 2 else 1]), (273, "I", [start]), (277, "H", [samples])),
        *((278, "I", [height]), (279, "I", [len(data)])),
    ]
    tags += [] if extra_samples is None else [(338, "H", [extra_samples])]
    word, size, name = ("Q", 8, b"MM" if order == ">" else b"II") if big else ("I", 4, b"II")
    entries, long_values = b"", b""
    long_values_at = (
        start + len(data) + struct.calcsize(f"={'Q' if big else 'H'}") + len(tags) * (4 + 2 * size) + size
    )
    for tag, code, values in tags:
        value = struct.pack(f"{order}{len(values)}{code}", *values).ljust(size, b"\0")
        if len(value) > size:
            value, long_values = (
                struct.pack(f"{order}{word}", long_values_at + len(long_values)),
                long_values + value,
            )
        entries += struct.pack(f"{order}HH{word}", tag, {"H": 3, "I": 4}[code], len(values)) + value
    head = (
        name + struct.pack(f"{order}HHHQ", 43, 8, 0, start + len(data))
        if big
        else name + struct.pack("<HI", 42, start + len(data))
    )
    count = struct.pack(f"{order}{'Q' if big else 'H'}", len(tags))
    return head + data + count + entries + bytes(size) + long_values


def bmp(pixels: Pixels, masks: tuple[int, int, int], bits: int) -> bytes:
    """A BMP whose samples lie at the masks of its bit fields; [H, W, 3] uint8 in, their high bits kept."""
    packed = np.zeros(pixels.shape[:2], np.uint32)
    for channel, mask in enumerate(masks):
        low, width = (mask & -mask).bit_length() - 1, mask.bit_count()
        wide = pixels[:, :, channel].astype(np.uint32)
        packed |= (wide << (width - 8) if width > 8 else wide >> (8 - width)) << low
    height, width = packed.shape
    filled = np.pad(packed, ((0, 0), (0, width % 2 if bits == 16 else 0)))  # rows are multiples of 4 bytes
    data = filled[::-1].astype(f"<u{bits // 8}").tobytes()
    head = struct.pack("<IiiHHIIiiII3I", 40, width, height, 1, bits, 3, len(data), 0, 0, 0, 0, *masks)
    return struct.pack("<2sIHHI", b"BM", 14 + len(head) + len(data), 0, 0, 14 + len(head)) + head + data
