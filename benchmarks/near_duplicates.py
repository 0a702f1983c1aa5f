"""How many near-duplicates the choice of images for review finds by the tables alone, and how many it makes up.

Rendered scenes are annotated by the bundled network, each as it is and in other versions: saved again at JPEG
quality 60, made half as large, and cut by some px as the next frame of a camera would be.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import machine, store
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import posrefine
from pipeline.output.layout import OutputTree
from pipeline.output.parquet import encode_table
from pipeline.output.run_output import RunOutput
from pipeline.output.schema import ImageResult, TableMetadata, unit_table
from pipeline.review.image_features import COLUMNS, FIELDS, features_of
from pipeline.review.near_duplicates import TOLERANCE, SeenImages
from pipeline.storage import Storage
from posrefine.errors import ImageStatus
from posrefine.skeletons import COCO
from posrefine.synthetic import render_scenes

FIRST_SEED = 9_000_000
VERSIONS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "as it is": lambda image: saved(image, 95),
    "saved at quality 60": lambda image: saved(image, 60),
    "half as large": lambda image: saved(image.resize((image.width // 2, image.height // 2)), 90),
    "cut by 4 and 3 px": lambda image: saved(image.crop((4, 3, image.width, image.height)), 95),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=60)
    arguments = parser.parse_args()
    predictor = posrefine.load("posrefine:tiny_coco")
    rows = []
    for number, scene in enumerate(render_scenes(arguments.scenes, first_seed=FIRST_SEED)):
        for name, change in VERSIONS.items():
            image = change(Image.fromarray(np.asarray(scene.image)))
            rows.append(
                ImageResult(
                    f"{number}/{name}", None, f"s3://b/{number}/{name}", image.width, image.height, 1,
                    None, ImageStatus.OK, poses=predictor(image),
                )
            )  # fmt: skip
    measured = measure_rows(rows)
    kinds = {name: measured[place :: len(VERSIONS)] for place, name in enumerate(VERSIONS)}
    first, *others = kinds
    known = [index for index, row in enumerate(kinds[first]) if np.isfinite(row["signature"]).all()]
    found = {name: sum(alike(kinds[first][i], kinds[name][i]) for i in known) / len(known) for name in others}
    pairs = [(i, j) for place, i in enumerate(known) for j in known[:place]]
    made_up = sum(alike(kinds[first][i], kinds[first][j]) for i, j in pairs)
    result = {
        "tolerance": TOLERANCE,
        "scenes_with_persons": len(known),
        "found": {name: round(share, 3) for name, share in found.items()},
        "pairs_of_different_scenes": len(pairs),
        "of_them_taken_for_one": made_up,
    }
    store("near_duplicates", {"machine": machine(), **result})


def saved(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def measure_rows(rows: list[ImageResult]) -> np.ndarray:
    metadata = TableMetadata(COCO, "posrefine_tiny", "posrefine:tiny_coco", "0" * 64, "{}", "0", "0" * 16)
    with tempfile.TemporaryDirectory() as folder:
        storage, tree = Storage(), OutputTree.at(folder)
        storage.put(tree.unit("u000000"), encode_table(unit_table("u000000", rows), metadata.encode()))
        run = RunOutput.at(folder, storage).rows()
        (part,) = run.persons(COLUMNS, FIELDS)
        return features_of(part, 0, COCO.num_joints, run.min_score, 0, {})[0]


def alike(one: np.void, other: np.void) -> bool:
    seen = SeenImages()
    seen.add(one)
    return seen.has(other)


if __name__ == "__main__":
    main()
