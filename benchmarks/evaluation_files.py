"""Annotation and results files of any size, made from an archive of real annotations."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posrefine.skeletons import COCO

PROGRESS_IMAGES = 100_000


@dataclass(frozen=True)
class Source:
    """Annotations of real images.

    Attributes:
        sizes: [I, 2] width and height, px.
        first_person: [I + 1] position of each image's first person.
        boxes: [P, 4] xywh, px.
        keypoints: [P, 17, 3] x, y, visibility flag.
    """

    sizes: NDArray[np.int64]
    first_person: NDArray[np.int64]
    boxes: NDArray[np.float64]
    keypoints: NDArray[np.float64]

    @staticmethod
    def read(path: Path) -> Source:
        """An archive with the arrays image_id [I], wh [I, 2], person_image [P] ascending, bbox and keypoints."""
        with np.load(path, allow_pickle=False) as archive:
            first = np.searchsorted(archive["person_image"], np.arange(len(archive["image_id"]) + 1))
            return Source(archive["wh"], first, archive["bbox"].astype(float), archive["keypoints"])


@dataclass(frozen=True)
class Counts:
    """What was written."""

    persons: int
    detections: int


def write_files(source: Source, images: int, annotations: Path, results: Path) -> Counts:
    """Write both files record by record; the source's images are repeated under new ids."""
    rng = np.random.default_rng(0)
    persons = detections = 0
    with annotations.open("w") as truth, results.open("w") as found:
        category = json.dumps({"id": 1, "name": "person", "keypoints": COCO.joints})
        truth.write(f'{{"categories":[{category}],"images":[')
        for image_id in range(1, images + 1):
            truth.write(("," if image_id > 1 else "") + json.dumps(_image(source, image_id)))
        truth.write('],"annotations":[')
        found.write("[")
        for image_id in range(1, images + 1):
            rows = _rows(source, image_id)
            for row in rows:
                persons += 1
                entry = _person(source, int(row), image_id, persons)
                truth.write(("," if persons > 1 else "") + json.dumps(entry))
            for entry in _noisy(source, rows, image_id, rng):
                detections += 1
                found.write(("," if detections > 1 else "") + json.dumps(entry))
            if image_id % PROGRESS_IMAGES == 0:
                print(f"written: {image_id:,} of {images:,} images", file=sys.stderr, flush=True)
        truth.write("]}")
        found.write("]")
    return Counts(persons, detections)


def _rows(source: Source, image_id: int) -> NDArray[np.int64]:
    original = (image_id - 1) % len(source.sizes)
    return np.arange(source.first_person[original], source.first_person[original + 1])


def _image(source: Source, image_id: int) -> dict[str, Any]:
    width, height = source.sizes[(image_id - 1) % len(source.sizes)].tolist()
    return {"id": image_id, "file_name": f"{image_id:012d}.jpg", "width": width, "height": height}


def _person(source: Source, row: int, image_id: int, annotation_id: int) -> dict[str, Any]:
    """The archive has no areas; two thirds of the box is near what segments have."""
    box = np.round(source.boxes[row], 2).tolist()
    keypoints = source.keypoints[row]
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": box,
        "area": round(box[2] * box[3] * 2 / 3, 2),
        "keypoints": keypoints.ravel().tolist(),
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
    }


def _noisy(
    source: Source, rows: NDArray[np.int64], image_id: int, rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Every person with noise of a share of its size, and two that are not there."""
    for row in [*rows, *rng.integers(0, len(source.boxes), 2)]:
        points = source.keypoints[row].astype(float)
        size_px = float(np.sqrt(source.boxes[row, 2:].prod()))
        points[:, :2] += rng.normal(0, rng.uniform(0, 0.08) * size_px, (17, 2))
        points[:, 2] = 1
        keypoints = np.round(points, 2).ravel().tolist()
        yield {
            "image_id": image_id,
            "category_id": 1,
            "keypoints": keypoints,
            "score": round(float(rng.random()), 4),
        }
