"""COCO results files: `[{image_id, category_id, keypoints [x, y, 1] * K, score}, …]`, an entry a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from posrefine.metrics import Detections

__all__ = ["EntrySpool", "encode_entries"]

_HEAD = b'{"image_id":'


def encode_entries(detections: Detections, category_id: int) -> bytes:
    """Entries of a results file, one a line.

    Numbers are in full precision; the third one of every joint is 1, as COCO's format page asks: no scorer
    reads it.
    """
    ones = np.ones((*detections.keypoints.shape[:2], 1))
    joined = np.concatenate([detections.keypoints, ones], axis=2)
    rows = joined.reshape(len(detections), joined.shape[1] * 3).tolist()
    lines = [
        json.dumps(
            {"image_id": image_id, "category_id": category_id, "keypoints": row, "score": score},
            separators=(",", ":"),
        )
        for image_id, row, score in zip(
            detections.image_ids.tolist(), rows, detections.scores.tolist(), strict=True
        )
    ]
    return "".join(f"{line}\n" for line in lines).encode()


class EntrySpool:
    """Entries of all parts, on a disk until it is known which of their images count; memory holds one part's.

    Args:
        folder: for the file, which the caller deletes with it.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "entries"
        self._path.touch()
        self._sizes: list[int] = []

    def add(self, entries: bytes) -> None:
        """The entries of the next part."""
        with self._path.open("ab") as file:
            file.write(entries)
        self._sizes.append(len(entries))

    def write(self, path: Path, counted: Sequence[NDArray[np.int64]]) -> None:
        """Write a results file of the entries of those images that count, an array of ids for every part."""
        separator = b"\n"
        with self._path.open("rb") as spooled, path.open("wb") as file:
            file.write(b"[")
            for size, ids in zip(self._sizes, counted, strict=True):
                of_part = set(ids.tolist())
                for line in spooled.read(size).splitlines():
                    if _image_id(line) in of_part:
                        file.write(separator + line)
                        separator = b",\n"
            file.write(b"\n]\n")


def _image_id(line: bytes) -> int:
    """Of an entry as `encode_entries` writes it."""
    return int(line[len(_HEAD) : line.index(b",")])
