"""What a person's score means, and from which score on persons are counted and shown.

Photographs that the network has not learnt from, and rendered scenes, are annotated in the ways of testing that
users have. Floors are compared by F1, the harmonic mean of precision and recall at OKS 0.5, in the mean over the ways
of testing photographs: one default has to serve them all. The lowest floor is chosen whose F1 is within 0.02 of the
highest: somebody shown in vain is seen and taken out, somebody who is not shown is lost. How reliable scores are is
the mean OKS, with the annotated person that fits best, of persons whose scores lie in one tenth.

    python benchmarks/score_floor.py --photographs ../shared/data/coco_photos/train --val-share 0.1

With `--val-share` the photographs are those that a training with the same option kept apart.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine, store
from numpy.typing import NDArray

# This folder, which Python searches first, is not where the packages lie.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kept_apart import kept_apart

from pipeline.training.labelled_images import Frames
from posrefine import COCO, load
from posrefine.metrics import MatchTable, match_images, oks_rules
from posrefine.metrics.analysis.diagnosis import reliability
from posrefine.training.score import best_oks
from posrefine.training.validation import ValidationSet

FLOORS = [round(0.05 * step, 2) for step in range(20)]
FIRST_SEED = 8_000_000
AS_GOOD = 0.02


@dataclass(frozen=True)
class Way:
    """How images are tested: whether the rescoring network is asked, and at which scales."""

    rescored: bool
    scales: tuple[float, ...]


ONE, FOUR = (1.0,), (1.0, 1.5, 2.0, 2.5)
WAYS = {
    "flip test": Way(False, ONE),
    "flip test, rescored": Way(True, ONE),
    "flip and multi-scale test, rescored": Way(True, FOUR),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--photographs", type=Path, required=True, help="folder with annotations.json and images/"
    )
    parser.add_argument("--val-share", type=float, default=1.0, help="of the photographs, those kept apart")
    parser.add_argument("--scenes", type=int, default=120, help="rendered scenes to compare with")
    parser.add_argument("--weights", default="posrefine:tiny_coco")
    parser.add_argument("--score-weights", default="posrefine:tiny_coco_score")
    given = parser.parse_args()
    apart = kept_apart(given.photographs, given.val_share)
    sets = {
        "photographs": ValidationSet.of(Frames(apart), apart.annotation_file(), COCO),
        "scenes": ValidationSet.rendered(given.scenes, FIRST_SEED, COCO),
    }
    curves: dict[str, Any] = {}
    reliability: dict[str, Any] = {}
    for name, images in sets.items():
        for words, way in WAYS.items():
            rescore = given.score_weights if way.rescored else False
            found = images.detections(load(given.weights, rescore, scales=way.scales))
            table = match_images(images.truth, found, oks_rules(COCO.name))
            curves.setdefault(name, {})[words] = [at(table, floor) for floor in FLOORS]
            if way.rescored:
                oks = best_oks(found.keypoints, found.image_ids, images.truth, COCO)
                reliability.setdefault(name, {})[words] = reliable(found.scores, oks)
    mean_f1 = [
        float(np.mean([curve[index]["f1"] for curve in curves["photographs"].values()]))
        for index in range(len(FLOORS))
    ]
    result = {
        "machine": machine(),
        "weights": given.weights,
        "score_weights": given.score_weights,
        "images": {name: len(images.truth.image_ids) for name, images in sets.items()},
        "chosen": chosen(mean_f1),
        "mean_f1": dict(zip(map(str, FLOORS), (round(value, 4) for value in mean_f1), strict=True)),
        "curves": curves,
        "reliability": reliability,
    }
    store("score_floor", result)


def chosen(mean_f1: Sequence[float]) -> float:
    """The lowest floor that is as good as the best, but for `AS_GOOD`."""
    return next(floor for floor, f1 in zip(FLOORS, mean_f1, strict=True) if f1 >= max(mean_f1) - AS_GOOD)


def at(table: MatchTable, floor: float) -> dict[str, Any]:
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
        "precision": round(right / max(1, right + invented), 4),
        "f1": round(2 * right / max(1, right + invented + to_be_found), 4),
    }


def reliable(scores: NDArray[np.float64], oks: NDArray[np.float64]) -> dict[str, Any]:
    """Mean score and mean OKS by tenths of the score, and the expected calibration error.

    Poses of which nobody can say how good they are (`best_oks` says NaN) are left out.
    """
    found = reliability(scores, oks)
    return {
        "expected_calibration_error": round(found.expected_calibration_error, 4),
        "tenths": [
            {
                "count": one.count,
                "mean_score": round(one.mean_score, 3),
                "mean_oks": round(one.mean_oks, 3),
            }
            for one in found.bins
        ],
    }


if __name__ == "__main__":
    main()
