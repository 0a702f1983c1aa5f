"""Folders of files, as inputs of runs."""

from __future__ import annotations

from pathlib import Path

from support.images import encode, gradient

__all__ = ["PHOTO", "fill", "photos"]

PHOTO = encode(gradient())


def fill(folder: Path, files: dict[str, bytes]) -> str:
    """The folder's address, with the files in it and below it."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return str(folder)


def photos(count: int) -> dict[str, bytes]:
    """So many photographs by their names."""
    return {f"{number:05d}.jpg": PHOTO for number in range(count)}
