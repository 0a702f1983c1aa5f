"""Memory that decoding a picture takes at its peak, beside what its header told; each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from image_parts import encoded
from page_marks import renewed
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pipeline.images.cost import decoding_cost
from pipeline.images.gate import ImageLimits, decode_image

ROOT = Path(__file__).resolve().parents[1]
RESULT = ROOT / "benchmarks" / "results" / "decoding_memory.json"
PAGE = ROOT / "docs" / "image_formats.md"
START = "<!-- memory, written by `python benchmarks/decoding_memory.py` -->"
END = "<!-- end of memory -->"
WIDTH_PX, HEIGHT_PX = 4000, 3000


def pictures(width: int = WIDTH_PX, height: int = HEIGHT_PX) -> Iterator[tuple[str, bytes]]:
    """Name and file of each kind; smooth pictures, whose files are small."""
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))
    turned = Image.Exif()
    turned[0x0112] = 6
    yield "JPEG", encoded(pixels, "JPEG")
    yield "JPEG, turned by EXIF", encoded(pixels, "JPEG", exif=turned)
    yield "JPEG, progressive 4:2:0", encoded(pixels, "JPEG", progressive=True)
    yield "JPEG, progressive 4:4:4", encoded(pixels, "JPEG", progressive=True, subsampling=0)
    yield "JPEG, CMYK", encoded(pixels, "JPEG", "CMYK")
    yield "JPEG, progressive, CMYK", encoded(pixels, "JPEG", "CMYK", progressive=True)
    yield "PNG", encoded(pixels, "PNG", compress_level=1)
    yield "PNG, palette", encoded(pixels, "PNG", "P", compress_level=1)
    yield "WebP", encoded(pixels, "WEBP", method=0)
    yield "WebP, lossless", encoded(pixels, "WEBP", lossless=True, method=0)
    yield "BMP", encoded(pixels, "BMP")
    yield "GIF", encoded(pixels, "GIF", "P")
    yield "TIFF, LZW", encoded(pixels, "TIFF", compression="tiff_lzw")
    yield "TIFF, turned by EXIF", encoded(pixels, "TIFF", compression="tiff_lzw", exif=turned)
    yield "AVIF, 4:2:0", encoded(pixels, "AVIF", speed=10)
    yield "AVIF, 4:4:4", encoded(pixels, "AVIF", speed=10, subsampling="4:4:4")
    yield "HEIF", encoded(pixels, "HEIF", enc_params={"preset": "ultrafast"})


def peak_of(path: Path, needed_px: int | None = None) -> int:
    """Bytes of resident memory that decoding took at its peak, measured in this process."""
    data = path.read_bytes()
    decode_image(
        encoded(np.zeros((8, 8, 3), np.uint8), path.suffix[1:].upper()), limits=ImageLimits(), exif="apply"
    )
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    decode_image(data, limits=ImageLimits(), exif="apply", needed_px=needed_px)
    return _status("VmHWM") - before


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def measured(name: str, data: bytes, folder: Path) -> dict[str, Any]:
    path = folder / f"picture.{name.split(',')[0].lower()}"
    path.write_bytes(data)
    done = subprocess.run([sys.executable, __file__, str(path)], capture_output=True, text=True, check=True)
    cost = decoding_cost(data)
    assert cost is not None
    return {
        "kind": name,
        "file_bytes": len(data),
        "decoded_bytes": cost.decoded_bytes,
        "told_bytes": cost.peak_bytes,
        "measured_bytes": int(done.stdout),
    }


def table(result: dict[str, Any]) -> str:
    lines = ["| 12 MP as | pixels | peak as told by the header | peak as measured |", "|---|---|---|---|"]
    for case in result["cases"]:
        told, seen = (case[key] / 1e6 for key in ("told_bytes", "measured_bytes"))
        lines.append(
            f"| {case['kind']} | {case['decoded_bytes'] / 1e6:.0f} MB | {told:.0f} MB | {seen:.0f} MB |"
        )
    where = result["machine"]
    return "\n".join(lines) + f"\n\nMeasured on {where['cores']} cores {where['cpu']}, {where['date']}."


def with_table(page: str) -> str:
    """The page with its table renewed."""
    return renewed(page, START, END, table(json.loads(RESULT.read_text())))


def main() -> None:
    if len(sys.argv) > 1:
        print(peak_of(Path(sys.argv[1])))
        return
    from machine import machine  # brings Torch, which the measured processes do without

    with tempfile.TemporaryDirectory() as folder:
        cases = [measured(name, data, Path(folder)) for name, data in pictures()]
    RESULT.write_text(json.dumps({"machine": machine(), "cases": cases}, indent=2) + "\n")
    PAGE.write_text(with_table(PAGE.read_text()))


if __name__ == "__main__":
    main()
