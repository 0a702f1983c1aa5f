"""Makes the pictures of README and docs: persons found in rendered scenes, the end of a run, a report.

    python infra/release/pictures.py

No photograph is shown anywhere in this project, so the scenes are rendered ones that no training has met. The
report is taken in Chromium.
"""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from rich.console import Console

import posrefine
from pipeline.driver.summary import outcome_table
from pipeline.output.outcome import Outcome
from posrefine.synthetic import EASY, render_scene

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs/images"
SEEDS = (90_002, 90_006, 90_008, 90_009)
MIN_SCORE = 0.4
TILE_PX = 360


def main() -> None:
    """Write the three pictures."""
    poses_picture()
    with tempfile.TemporaryDirectory() as folder:
        run, evaluation = run_and_evaluation(Path(folder))
        terminal_picture(Outcome.model_validate_json((run / "outcome.json").read_text()))
        report_picture(evaluation / "report/index.html")


def poses_picture() -> None:
    """Four scenes side by side, with the people that the bundled network finds in them."""
    predictor = posrefine.load("posrefine:tiny_coco", rescore=True, scales=(1.0, 1.5, 2.0))
    sheet = Image.new("RGB", (TILE_PX * len(SEEDS), TILE_PX))
    for column, seed in enumerate(SEEDS):
        image = render_scene(seed, EASY).image
        poses = predictor(image).filter(min_score=MIN_SCORE)
        drawn = poses.draw(image)
        tile = drawn.crop(_around(poses, *drawn.size)).resize((TILE_PX, TILE_PX), Image.Resampling.LANCZOS)
        sheet.paste(tile, (column * TILE_PX, 0))
    sheet.save(IMAGES / "poses.jpg", quality=88)


def run_and_evaluation(folder: Path) -> tuple[Path, Path]:
    """What `make demo` makes, with one broken file among its images: folders of a run and its evaluation."""
    data, run, evaluation = folder / "data", folder / "run", folder / "evaluation"
    _job("pack.py", "--synthetic", "24", "--seed", "90000", "--shard-images", "8", "--output", data)
    (data / "shards/broken.jpg").write_bytes(b"no picture")
    _job(
        *("annotate.py", "run", "--input", data / "shards", "--annotations", data / "annotations.json"),
        *("--output", run, "--model", "posrefine_tiny", "--weights", "posrefine:tiny_coco"),
        *("--score-weights", "posrefine:tiny_coco_score", "--scales", "1,1.5,2", "--max-error-rate", "0.1"),
    )
    truth = ("--annotations", data / "annotations.json", "--protocol", "coco")
    _job("evaluate.py", "--predictions", run, *truth, "--report", "--output", evaluation)
    return run, evaluation


def terminal_picture(outcome: Outcome) -> None:
    """The table at the end of a run, as a terminal shows it."""
    console = Console(record=True, width=100, file=io.StringIO(), force_terminal=True)
    console.print(outcome_table(outcome))
    drawing = console.export_svg(title="python jobs/annotate.py run …")
    # Asks nothing of other servers: a reader's own monospaced font does.
    drawing = re.sub(r"@font-face \{.*?\}", "", drawing, flags=re.DOTALL)
    (IMAGES / "terminal.svg").write_text(drawing)


def report_picture(page: Path) -> None:
    """The top of a report in a window."""
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        sys.exit("the report's picture is taken in Chromium, which is not on this machine")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "page.png"
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
        window = ("--window-size=1180,1000", f"--screenshot={target}", page.as_uri())
        subprocess.run([browser, *options, *window], check=True, capture_output=True)
        Image.open(target).convert("RGB").save(IMAGES / "report.jpg", quality=85)


def _job(script: str, *arguments: str | Path) -> None:
    command = [sys.executable, str(ROOT / "jobs" / script), *map(str, arguments)]
    subprocess.run(command, cwd=ROOT, check=True)


def _around(poses: posrefine.Poses, width: int, height: int) -> tuple[int, int, int, int]:
    """The square of the image, left, top, right, bottom, with all persons and a little around them."""
    low, high = poses.keypoints.min(axis=(0, 1)), poses.keypoints.max(axis=(0, 1))
    side = min(int(1.3 * (high - low).max()), width, height)
    left, top = (
        int(min(max(middle - side / 2, 0), limit - side))
        for middle, limit in zip((low + high) / 2, (width, height), strict=True)
    )
    return left, top, left + side, top + side


if __name__ == "__main__":
    main()
