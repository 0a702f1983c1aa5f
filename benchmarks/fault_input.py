"""Inputs of a campaign of faults: a few images, most of them hostile, and what repairs two of them."""

from __future__ import annotations

import io
import tarfile

import fault_driver
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from support.images import encode, gradient

__all__ = ["HOSTILE", "REPAIRED", "repaired", "some_input"]

REPAIRED = ("words.jpg", "cut.jpg")
"""Images that are mended after the first run."""


def some_input(more: str) -> dict[str, bytes]:
    """Images, some of them hostile; `more`: two that kill, in neighbouring units, or two hungry ones, or none."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as file:
        entry = tarfile.TarInfo("in a tar.png")
        data = encode(gradient(70, 64), "PNG")
        entry.size = len(data)
        file.addfile(entry, io.BytesIO(data))
        backwards = tarfile.TarInfo("backwards")
        backwards.type, record = tarfile.XHDTYPE, b"14 size=-1536\n"
        backwards.size = len(record)
        file.addfile(backwards, io.BytesIO(record))
        file.addfile(tarfile.TarInfo("b.png"))
    rows = io.BytesIO()
    pq.write_table(pa.table({"jpg": [encode(gradient(66, 64)), None, b"no image"], "key": list("abc")}), rows)
    found = {f"{index}.png": encode(gradient(64 + index, 64), "PNG") for index in range(6)}
    found |= {
        "words.jpg": b"words",
        "cut.jpg": encode(gradient(64, 64))[:-300],
        "bomb.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\x01\0\0\0\x01\0\0\x08\2\0\0\0" + b"\xff" * 60,
        "evil.tar": tar.getvalue(),
        "rows.parquet": rows.getvalue(),
        "cut.parquet": rows.getvalue()[:-20],
    }
    if more:
        colour = fault_driver.KILLER if more == "killers" else fault_driver.HUNGRY
        found |= {name: _plain(colour) for name in ("3k.png", "k2.png")}
    return found


def _plain(colour: tuple[int, int, int]) -> bytes:
    return encode(np.full((64, 64, 3), colour, np.uint8), "PNG")


HOSTILE = ("words.jpg", "cut.jpg", "bomb.png", "evil.tar", "rows.parquet", "cut.parquet", "3k.png", "k2.png")


def repaired() -> dict[str, bytes]:
    """What takes the place of the images that are mended."""
    return {name: encode(gradient(80 + index, 64)) for index, name in enumerate(REPAIRED)}
