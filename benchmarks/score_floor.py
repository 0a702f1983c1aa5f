"""Which score a person needs to be counted and shown: persons right, invented and missed by the floor.

The photographs are a share of a labelled set that no figure of ours is judged on. A person counts as right where
it takes an annotated one at OKS 0.5. The floor that is chosen has the highest F1, the harmonic mean of precision
and recall, over all ways of testing: one default has to serve them all.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine, store

from posrefine import COCO, load
from posrefine.metrics import Detections, MatchTable, match_images, oks_rules
from posrefine.photographs import pixels_of
from posrefine.training.validation import ValidationSet

FLOORS = [round(0.05 * step, 2) for step in range(20)]
TESTS = {"flip test": False, "flip test, rescored": True}
"""Name, and whether the rescoring network is asked."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--photographs", type=Path, required=True, help="folder with annotations.json and images/"
    )
    parser.add_argument("--weights", default="posrefine:tiny_coco")
    parser.add_argument("--every", type=int, default=8, help="every so manieth photograph is looked at")
    arguments = parser.parse_args()
    photographs = _photographs(arguments.photographs, arguments.every)
    tables = {name: _matches(photographs, arguments.weights, rescore) for name, rescore in TESTS.items()}
    curves = {name: [_at(table, floor) for floor in FLOORS] for name, table in tables.items()}
    mean_f1 = [
        float(np.mean([curve[index]["f1"] for curve in curves.values()])) for index in range(len(FLOORS))
    ]
    result = {
        "machine": machine(),
        "weights": arguments.weights,
        "photographs": len(photographs.truth.image_ids),
        "chosen": FLOORS[int(np.argmax(mean_f1))],
        "mean_f1": dict(zip(map(str, FLOORS), (round(value, 4) for value in mean_f1), strict=True)),
        "curves": curves,
    }
    store("score_floor", result)


def _photographs(folder: Path, every: int) -> ValidationSet:
    annotations = json.loads((folder / "annotations.json").read_text())
    chosen = sorted(annotations["images"], key=lambda image: image["id"])[::every]
    images = {image["id"]: np.asarray(pixels_of(folder / "images" / image["file_name"])) for image in chosen}
    return ValidationSet.of(images, annotations, COCO)


def _matches(photographs: ValidationSet, weights: str, rescore: bool) -> MatchTable:
    predictor = load(weights, rescore)
    ids = photographs.truth.image_ids
    poses = [predictor(photographs.images[image_id]) for image_id in ids.tolist()]
    detections = Detections(
        image_ids=np.repeat(ids, [len(found) for found in poses]),
        keypoints=np.concatenate([found.keypoints for found in poses]).astype(np.float64),
        scores=np.concatenate([found.scores for found in poses]).astype(np.float64),
    )
    return match_images(photographs.truth, detections, oks_rules(COCO.name))


def _at(table: MatchTable, floor: float) -> dict[str, Any]:
    """Persons at OKS 0.5 and of any size, of detections from the floor on."""
    shown = table.scores >= floor
    counted = shown & ((table.ignored[:, 0] & 1) == 0)
    right = int((counted & ((table.matched[:, 0] & 1) == 1)).sum())
    to_be_found = int(table.positives[:, 0].sum())
    invented = int(counted.sum()) - right
    return {
        "floor": floor,
        "shown": int(shown.sum()),
        "right": right,
        "invented": invented,
        "missed": to_be_found - right,
        "f1": round(2 * right / max(1, right + invented + to_be_found), 4),
    }


if __name__ == "__main__":
    main()
