"""What the markers of a JPEG tell before its first scan (ITU T.81, annex B)."""

from __future__ import annotations

from dataclasses import dataclass

from posrefine.errors import ImageError, ImageStatus

__all__ = ["SIGNATURE", "JpegHeader", "read_jpeg_header"]

SIGNATURE = b"\xff\xd8\xff"

_SCAN, _END, _APP1 = 0xDA, 0xD9, 0xE1
_NO_PAYLOAD = {0x01, *range(0xD0, 0xD9)}
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_EXIF = b"Exif\0\0"


@dataclass(frozen=True)
class JpegHeader:
    """Size, samples and EXIF block of a JPEG.

    Attributes:
        width: px, before any EXIF turn.
        height: px, before any EXIF turn.
        components: 1 grey, 3 colour, 4 CMYK or YCCK.
        precision_bits: bits of a sample; 8 in all but medical and test images.
        exif: the raw block, or None.
        scan_byte: where the first scan begins.
        frame_marker: 0xC0 for baseline, 0xC2 for progressive, and so on.
        sampling: of each component, as the byte that holds its horizontal and vertical factor.
    """

    width: int
    height: int
    components: int
    precision_bits: int
    exif: bytes | None
    scan_byte: int
    frame_marker: int
    sampling: bytes


def read_jpeg_header(data: bytes) -> JpegHeader:
    """Walk the markers up to the first scan.

    Bytes between segments are passed over, as libjpeg does. Raises `ImageError`: truncated where the bytes
    end first, corrupt where a scan or the end comes before the frame's size.
    """
    frame: bytes | None = None
    frame_marker = 0
    exif: bytes | None = None
    position = 2
    while True:
        marker, position = _next_marker(data, position)
        if marker in _NO_PAYLOAD:
            continue
        if marker == _END or (marker == _SCAN and frame is None):
            raise ImageError(
                ImageStatus.CORRUPT, f"JPEG: marker {marker:#04x} at byte {position} before the size"
            )
        payload, following = _segment(data, position)
        if marker == _SCAN and frame is not None:
            return _header(frame, frame_marker, exif, position)
        if marker in _FRAMES:
            frame, frame_marker = payload, marker
        elif marker == _APP1 and exif is None and payload.startswith(_EXIF):
            exif = payload
        position = following


def _next_marker(data: bytes, position: int) -> tuple[int, int]:
    """The next marker and the position behind it; 0xFF00 is no marker and repeated 0xFF is filling."""
    while True:
        position = data.find(b"\xff", position) + 1
        if position == 0 or position >= len(data):
            raise _cut(data)
        if data[position] not in (0x00, 0xFF):
            return data[position], position + 1


def _segment(data: bytes, position: int) -> tuple[bytes, int]:
    if position + 2 > len(data):
        raise _cut(data)
    following = position + max(2, int.from_bytes(data[position : position + 2], "big"))
    if following > len(data):
        raise _cut(data)
    return data[position + 2 : following], following


def _header(frame: bytes, frame_marker: int, exif: bytes | None, scan_byte: int) -> JpegHeader:
    if len(frame) < 6:
        raise ImageError(
            ImageStatus.CORRUPT, f"JPEG: frame header of {len(frame)} bytes, at least 6 expected"
        )
    return JpegHeader(
        width=int.from_bytes(frame[3:5], "big"),
        height=int.from_bytes(frame[1:3], "big"),
        components=frame[5],
        precision_bits=frame[0],
        exif=exif,
        scan_byte=scan_byte,
        frame_marker=frame_marker,
        sampling=frame[7::3],
    )


def _cut(data: bytes) -> ImageError:
    return ImageError(ImageStatus.TRUNCATED, f"JPEG: the {len(data)} bytes end inside the header")
