"""Small files that would fill the memory of a machine: one row each, and workers that stay small."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.annotation import annotate, table, write_images
from support.images import encode, gradient
from support.ray_cluster import started_cluster, worker_pids

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")]

SIDE_PX = 60_000
MOST_BYTES = 2 * 2**30
"""A worker with its libraries and a unit needs well under half; one picture of the bombs 10.8 GB."""


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def zeros(size_bytes: int) -> bytes:
    """So many zero bytes, deflated without ever being held whole."""
    deflate, piece = zlib.compressobj(9), bytes(2**20)
    parts = [deflate.compress(piece) for _ in range(size_bytes // len(piece))]
    return b"".join([*parts, deflate.compress(bytes(size_bytes % len(piece))), deflate.flush()])


def png(side_px: int, *more: bytes) -> bytes:
    """A valid and black PNG of one bit a pixel."""
    header = struct.pack(">IIBBBBB", side_px, side_px, 1, 0, 0, 0, 0)
    rows = zeros(side_px * (1 + (side_px + 7) // 8))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + b"".join(more)
        + chunk(b"IDAT", rows)
        + chunk(b"IEND", b"")
    )


def tiff(side_px: int) -> bytes:
    """A valid and black TIFF of one bit a pixel, in one deflated strip."""
    strip = zeros(side_px * ((side_px + 7) // 8))
    tags = [
        *((256, 4, side_px), (257, 4, side_px), (258, 3, 1), (259, 3, 8), (262, 3, 1)),
        *((273, 4, 8), (277, 3, 1), (278, 4, side_px), (279, 4, len(strip))),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    start = 8 + len(strip)
    return struct.pack("<2sHI", b"II", 42, start) + strip + struct.pack("<H", len(tags)) + entries + bytes(4)


def jpeg_header(side_px: int) -> bytes:
    data = bytearray(encode(gradient()))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = side_px.to_bytes(2, "big") * 2
    return bytes(data)


def gif_header(side_px: int) -> bytes:
    data = bytearray(encode(gradient(), "GIF"))
    data[6:10] = struct.pack("<HH", side_px, side_px)
    return bytes(data)


BOMBS = {
    "square.png": png(SIDE_PX),
    "text.png": png(64, chunk(b"zTXt", b"Comment\0\0" + zeros(2**30))),
    "square.tiff": tiff(SIDE_PX),
    "header.jpg": jpeg_header(SIDE_PX),
    "header.gif": gif_header(SIDE_PX),
}


@contextmanager
def watched_memory() -> Iterator[list[int]]:
    """The largest resident memory of each worker while the block lasted, bytes; filled at its end."""
    over, seen, largest = threading.Event(), dict[int, int](), list[int]()

    def watch() -> None:
        while not over.wait(0.05):
            for pid in worker_pids("ray::"):
                seen[pid] = max(seen.get(pid, 0), peak_bytes(pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield largest
    finally:
        over.set()
        watcher.join()
        largest.extend(seen.values())


def peak_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


def test_bombs_cost_one_row_each_and_no_memory(tmp_path: Path):
    assert max(map(len, BOMBS.values())) < 2 * 2**20
    given = write_images(tmp_path / "images", BOMBS | {"fine.png": encode(gradient(), "PNG")})
    output = str(tmp_path / "out")

    with started_cluster({}), watched_memory() as peaks:
        assert annotate(given, output) == 0

    rows = {row["image_key"]: row for row in table(output, "images").to_pylist()}
    assert {key: row["status"] for key, row in rows.items()} == {
        "fine.png": "ok",
        "header.gif": "too_large",
        "header.jpg": "too_large",
        "square.png": "too_large",
        "square.tiff": "too_large",
        "text.png": "ok",
    }
    for key in ("square.png", "square.tiff", "header.jpg", "header.gif"):
        assert (rows[key]["width"], rows[key]["height"]) == (SIDE_PX, SIDE_PX)
    assert peaks
    assert max(peaks) < MOST_BYTES
