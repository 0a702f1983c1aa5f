"""Seconds that decoding photographs of 12 to 48 megapixels takes, whole and smaller, one after the other."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from image_parts import encoded
from machine import machine, store
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.images.gate import ImageLimits, decode_image
from posrefine.synthetic import SceneSpec, render_scene

SIZES = ((4000, 3000), (6000, 4000), (8000, 6000))
NEEDED_PX = 512
TIMES = 7


def cases() -> Iterator[dict[str, Any]]:
    for width, height in SIZES:
        scene = render_scene(1, SceneSpec(width_px=1600, height_px=1200, people=(2, 4))).image
        large = np.asarray(Image.fromarray(scene).resize((width, height), Image.Resampling.BICUBIC))
        data = encoded(large, "JPEG", quality=92)
        seconds: dict[int | None, list[float]] = {None: [], NEEDED_PX: []}
        shapes: dict[int | None, tuple[int, ...]] = {}
        for _ in range(TIMES):  # in turn, so that both see the same machine
            for needed_px, spent in seconds.items():
                started = time.perf_counter()
                decoded = decode_image(data, limits=ImageLimits(), exif="apply", needed_px=needed_px)
                spent.append(time.perf_counter() - started)
                shapes[needed_px] = decoded.pixels.shape
        whole, smaller = (statistics.median(seconds[key]) for key in (None, NEEDED_PX))
        yield {
            "width": width,
            "height": height,
            "file_bytes": len(data),
            "whole_median_s": round(whole, 4),
            "smaller_median_s": round(smaller, 4),
            "whole_bytes": int(np.prod(shapes[None])),
            "smaller_bytes": int(np.prod(shapes[NEEDED_PX])),
            "smaller_shape": list(shapes[NEEDED_PX]),
            "speedup": round(whole / smaller, 2),
        }


if __name__ == "__main__":
    store("large_decoding", {"machine": machine(("numpy", "pillow", "simplejpeg")), "cases": list(cases())})
