"""Images as large as COCO's photographs, for runs whose speed is measured."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence

from PIL import Image

from posrefine.synthetic import SceneSpec, render_scene

__all__ = ["coco_size_jpegs", "tar_of"]

COCO_SIZE = SceneSpec(width_px=640, height_px=480, people=(1, 6))
"""COCO's usual photograph; quality 98 brings rendered scenes near its 160 kB."""
DIFFERENT_IMAGES = 32


def coco_size_jpegs() -> list[bytes]:
    """A few different ones, to be repeated."""
    return [_encoded(seed) for seed in range(DIFFERENT_IMAGES)]


def _encoded(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(render_scene(seed, COCO_SIZE).image).save(file, "JPEG", quality=98)
    return file.getvalue()


def tar_of(photographs: Sequence[bytes], numbers: range) -> bytes:
    """A tar whose members are numbered, each with the next photograph."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for number in numbers:
            member = tarfile.TarInfo(f"{number:08d}.jpg")
            member.size = len(photographs[number % len(photographs)])
            tar.addfile(member, io.BytesIO(photographs[number % len(photographs)]))
    return file.getvalue()
