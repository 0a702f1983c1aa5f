"""Whether entropy-coded data of a JPEG were lost, or whether there is only filling between them.

Cameras and webcams fill up with bytes before a marker: before the end, before a restart marker, between the
scans of a progressive picture. That harms nothing, as long as every block before the filling was there.
libjpeg tells of the first warning only, so each stretch of data that may have filling behind it is decoded as
a picture of its own: what comes first is then all that comes.

Many different bytes are no filling: of a picture that lost a piece of a scan the rest may well decode to more
blocks than it held, and then it is the end of its data that is left over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import simplejpeg

from pipeline.images.plain_jpeg import PlainJpeg, Scan, is_filling, without_repeats

__all__ = ["only_filling"]

_SURPLUS = re.compile(r"Corrupt JPEG data: (\d+) extraneous bytes before marker 0xd9")
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_MOST_SCANS = 64
_MOST_INTERVALS = 20_000
"""More would take longer than a picture is worth: it is called corrupt."""

# The decoder reads so far ahead that it passes over less filling without a word; with this much it speaks.
_ENOUGH_FILLING = bytes(16)


def only_filling(jpeg: PlainJpeg, colours: str) -> bool:
    """Whether all warnings about a picture that decodes with warnings are about filling before markers.

    `colours` is a colour space that the picture can be decoded to, by simplejpeg's names.
    """
    if jpeg.left_over:
        return False
    if len(jpeg.scans) > 1:
        return len(jpeg.scans) <= _MOST_SCANS and _scans_are_whole(jpeg, colours)
    if jpeg.scans and jpeg.restart_mcus:
        return _intervals_are_whole(jpeg, colours)
    return bool(jpeg.scans) and _is_filling(jpeg.scans[0].data, _surplus_bytes(jpeg.encode(), colours))


def _scans_are_whole(jpeg: PlainJpeg, colours: str) -> bool:
    """Scan by scan, each behind those before it, which have had their filling taken away."""
    for index, scan in enumerate(jpeg.scans):
        if not _is_filling(scan.data, _surplus_bytes(jpeg.encode(index + 1), colours)):
            return False
        filled = jpeg.with_scan_data(index, scan.data + _ENOUGH_FILLING)
        surplus = (_surplus_bytes(filled.encode(index + 1), colours) or 0) - len(_ENOUGH_FILLING)
        if surplus > 0:
            jpeg = jpeg.with_scan_data(index, scan.data[:-surplus])
            if _surplus_bytes(jpeg.encode(index + 1), colours) != 0:
                return False
    return True


def _intervals_are_whole(jpeg: PlainJpeg, colours: str) -> bool:
    """Every stretch between two restart markers as a picture of so many MCUs."""
    size = _mcu_grid(jpeg.frame)
    if size is None:
        return False
    across, down, mcu_width, mcu_height = size
    stretches = _RESTART.split(jpeg.scans[0].data)
    intervals, markers = [*map(without_repeats, stretches[:-1:2]), stretches[-1]], stretches[1::2]
    in_turn = all(marker[0] == 0xD0 + index % 8 for index, marker in enumerate(markers))
    expected = -(-across * down // jpeg.restart_mcus)
    if not in_turn or len(intervals) != expected or expected > _MOST_INTERVALS:
        return False
    head = re.sub(rb"\xff\xdd\x00\x04..", b"", jpeg.scans[0].head, flags=re.DOTALL)
    for index, data in enumerate(intervals):
        mcus = min(jpeg.restart_mcus, across * down - index * jpeg.restart_mcus)
        rows, columns = (mcus // across, across) if mcus % across == 0 else (1, mcus)
        if columns * mcu_width > 65_500:
            return False
        frame = _with_size(jpeg.frame, rows * mcu_height, columns * mcu_width)
        piece = PlainJpeg(jpeg.colours, (Scan(head.replace(jpeg.frame, frame), data),))
        if not _is_filling(data, _surplus_bytes(piece.encode(), colours)):
            return False
    return True


def _mcu_grid(frame: bytes) -> tuple[int, int, int, int] | None:
    """MCUs across and down, and width and height of one in px."""
    if len(frame) < 9 or len(frame) != 6 + 3 * frame[5]:
        return None
    factors = list(_sampling_factors(frame)) if frame[5] > 1 else [(1, 1)]
    mcu_width, mcu_height = 8 * max(f[0] for f in factors), 8 * max(f[1] for f in factors)
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    if not (mcu_width and mcu_height and width and height):
        return None
    return -(-width // mcu_width), -(-height // mcu_height), mcu_width, mcu_height


def _sampling_factors(frame: bytes) -> Iterator[tuple[int, int]]:
    for factors in frame[7::3]:
        yield factors >> 4, factors & 15


def _with_size(frame: bytes, height: int, width: int) -> bytes:
    return frame[:1] + height.to_bytes(2, "big") + width.to_bytes(2, "big") + frame[5:]


def _surplus_bytes(data: bytes, colours: str) -> int | None:
    """How many bytes the decoder found left over before the end marker; None where it warns otherwise."""
    try:
        # Only warnings are wanted here; the smallest picture is the cheapest.
        simplejpeg.decode_jpeg(data, colours, min_height=1, min_width=1, min_factor=8, strict=True)
    except ValueError as error:
        found = _SURPLUS.fullmatch(str(error))
        return int(found[1]) if found else None
    return 0


def _is_filling(data: bytes, surplus: int | None) -> bool:
    """Whether so many bytes at the end of a stretch of data are filling."""
    return surplus is not None and (surplus == 0 or is_filling(data[-surplus:]))
