"""A JPEG rewritten with nothing in it but what its pixels need.

Decoders warn of much that harms no pixel: a colour profile with a missing piece, a JFIF version of 2.1, stray
bytes in front of a marker, a scan header of a baseline picture that ends in 0, 0, 0. libjpeg tells of the
first warning only, so behind such a one the loss of half a picture would go unseen. Of the plain form every
warning is about the entropy-coded data.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

__all__ = ["PlainJpeg", "Scan", "is_filling", "plain_jpeg", "without_repeats"]

_MOST_STRAY_BYTES = 8

_START, _END = b"\xff\xd8", b"\xff\xd9"
_JFIF_SEGMENT = b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
_APP0, _APP14, _SCAN, _ENDS, _RESTART_INTERVAL = 0xE0, 0xEE, 0xDA, 0xD9, 0xDD
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = {0xC0, 0xC1}
_TABLES = {0xC4, 0xCC, 0xDB, _RESTART_INTERVAL}
_NO_PAYLOAD = {0x01, *range(0xD0, 0xD9)}
# Without the 0xFF that may be repeated before them: a search for those as well takes time that grows with the
# square of their number, and lets no other thread run.
_MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)
_SCAN_END = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)


@dataclass(frozen=True)
class Scan:
    """One scan: tables that came before it, its header, and its entropy-coded data with restart markers."""

    head: bytes
    data: bytes


@dataclass(frozen=True)
class PlainJpeg:
    """What the pixels of a JPEG are made of.

    Attributes:
        colours: JFIF and Adobe segments by which decoders choose the colour space, as far as there were any.
        scans: in order; the frame header is in the head of the first.
        frame: payload of the frame header; empty where there was none.
        frame_marker: 0xC0 for baseline, 0xC2 for progressive, and so on; 0 where there was none.
        left_over: what stands behind the last scan and is no filling: data whose scan header was lost.
        restart_mcus: MCUs between restart markers as the first scan has it; 0 without any.
    """

    colours: bytes = b""
    scans: tuple[Scan, ...] = ()
    frame: bytes = b""
    frame_marker: int = 0
    restart_mcus: int = 0
    left_over: bytes = b""

    def encode(self, scans: int | None = None) -> bytes:
        """The bytes of the file; with `scans`, only so many of its scans."""
        kept = self.scans[:scans]
        left_over = self.left_over if scans is None else b""
        return b"".join([_START, self.colours, *(scan.head + scan.data for scan in kept), left_over, _END])

    def with_scan_data(self, index: int, data: bytes) -> PlainJpeg:
        """The same with other entropy-coded data in one scan."""
        scans = list(self.scans)
        scans[index] = replace(scans[index], data=data)
        return replace(self, scans=tuple(scans))


def is_filling(stray: bytes) -> bool:
    """Whether stray bytes are few, or all the same; many different ones are data that lost their header."""
    return len(stray) <= _MOST_STRAY_BYTES or len(set(stray)) == 1


def without_repeats(before: bytes) -> bytes:
    """What stands before a marker, without the 0xFF that are repeated in front of it."""
    return before.rstrip(b"\xff")


def plain_jpeg(data: bytes) -> PlainJpeg:
    """The parts of an encoded JPEG up to its end marker; never raises, broken parts stay for the decoder."""
    jfif, adobe, frame, frame_marker, restart_mcus = b"", b"", b"", 0, 0
    head: list[bytes] = []
    scans: list[Scan] = []
    position = len(_START)
    while found := _MARKER.search(data, position):
        stray = without_repeats(data[position : found.start()])
        marker, position = found[1][0], found.end()
        if scans and not is_filling(stray):
            head.append(stray)
        if marker == _ENDS:
            break
        if marker in _NO_PAYLOAD:
            continue
        payload, position = _payload(data, position)
        if marker == _SCAN:
            data_end = _SCAN_END.search(data, position)
            end = data_end.start() if data_end else len(data)
            head.append(_segment(marker, _scan_header(payload, frame_marker)))
            between = data[position:end]
            scans.append(Scan(b"".join(head), without_repeats(between) if data_end else between))
            head, position = [], end
        elif marker in _TABLES or marker in _FRAMES:
            head.append(_segment(marker, payload))
            if marker in _FRAMES and not frame:
                frame, frame_marker = payload, marker
            elif marker == _RESTART_INTERVAL and not scans:
                restart_mcus = int.from_bytes(payload[:2], "big")
        elif not scans and marker == _APP0 and payload.startswith(b"JFIF\0") and len(payload) >= 14:
            jfif = _JFIF_SEGMENT
        elif not scans and marker == _APP14 and payload.startswith(b"Adobe") and len(payload) >= 12:
            adobe = _segment(_APP14, payload[:12])
    return PlainJpeg(
        jfif + adobe, tuple(scans), frame, frame_marker, restart_mcus, b"".join(head) if scans else b""
    )


def _payload(data: bytes, position: int) -> tuple[bytes, int]:
    following = position + max(2, int.from_bytes(data[position : position + 2], "big"))
    return data[position + 2 : following], min(following, len(data))


def _segment(marker: int, payload: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


def _scan_header(payload: bytes, frame_marker: int) -> bytes:
    """The scan header; its last three bytes mean nothing in a sequential picture, where rule fixes them."""
    if frame_marker in _SEQUENTIAL and payload and len(payload) == 4 + 2 * payload[0]:
        return payload[:-3] + b"\x00\x3f\x00"
    return payload
