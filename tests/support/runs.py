"""Outputs of runs made without a network: unit files with poses that the test chooses."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from support.annotated import annotated_people
from support.images import encode, gradient

from pipeline.output.layout import OutputTree
from pipeline.output.parquet import encode_table
from pipeline.output.schema import (
    ImageResult,
    TableMetadata,
    as_found,
    images_table,
    persons_table,
    unit_table,
)
from pipeline.output.unit_footer import encode_unit
from pipeline.storage import Storage
from posrefine.errors import ImageStatus
from posrefine.poses import Poses
from posrefine.score_floor import SCORE_FLOOR
from posrefine.skeletons import COCO, Skeleton

COMMITTED_AT = datetime(2026, 1, 1, tzinfo=UTC)
UNTRAINED = "untrained network: the poses mean nothing"


def metadata_of(
    skeleton: Skeleton = COCO,
    *,
    note: str | None = None,
    exif: str = "apply",
    model: str = "dekr_w32",
    run_id: str = "00ab",
    min_score: float = SCORE_FLOOR,
) -> TableMetadata:
    return TableMetadata(
        skeleton=skeleton,
        model=model,
        weights="mmpose:dekr_w32_coco",
        weights_sha256="0" * 64,
        settings=json.dumps({"exif": exif, "scales": [1.0], "flip": True, "min_score": min_score}),
        code_version="0.1.0",
        run_id=run_id,
        note=note,
    )


def write_run(
    output: str | Path,
    units: Sequence[Iterable[ImageResult]],
    metadata: TableMetadata | None = None,
    *,
    as_tables: bool = False,
) -> str:
    """Unit files (or the tables instead) at `output`; its uri."""
    storage, tree = Storage(), OutputTree.at(str(output))
    metadata = metadata or metadata_of()
    footer, min_score = metadata.encode(), json.loads(metadata.settings)["min_score"]
    for number, results in enumerate(units):
        rows = unit_table(f"u{number:06d}", list(results))
        if as_tables:
            file = f"part-g0001-{number:05d}-0.parquet"
            storage.put(tree.table("images", file), encode_table(images_table(as_found(rows)), footer))
            storage.put(tree.table("persons", file), encode_table(persons_table(as_found(rows)), footer))
        else:
            data = encode_unit(rows, footer, min_score=min_score, committed_at=COMMITTED_AT)
            storage.put(tree.unit(f"u{number:06d}"), data)
    return tree.root


def noisy_predictions(
    annotations: dict[str, Any], folder: Path, *, noise: float = 0.03, seed: int = 0
) -> list[ImageResult]:
    """Every image of a COCO file with its persons moved by noise; some are missed, and some are invented."""
    rng = np.random.default_rng(seed)
    persons: dict[int, list[dict[str, Any]]] = {}
    for person in annotations["annotations"]:
        if person["num_keypoints"] and not person["iscrowd"]:
            persons.setdefault(person["image_id"], []).append(person)
    return [
        _noisy_image(image, persons.get(image["id"], []), folder, noise, rng)
        for image in annotations["images"]
    ]


def _noisy_image(
    image: dict[str, Any],
    persons: list[dict[str, Any]],
    folder: Path,
    noise: float,
    rng: np.random.Generator,
) -> ImageResult:
    seen = [person for person in persons if rng.random() > 0.1]
    poses = [_noisy_person(person, noise, rng) for person in seen]
    if rng.random() < 0.3:
        poses.append(_invented(image, rng))
    poses.sort(key=lambda pose: -pose[2])
    joints = 17
    return ImageResult(
        image_key=image["file_name"],
        image_id=image["id"],
        uri=str(folder / image["file_name"]),
        width=image["width"],
        height=image["height"],
        exif_orientation=1,
        sha256=None,
        status=ImageStatus.OK,
        poses=Poses(
            keypoints=np.array([pose[0] for pose in poses], np.float32).reshape(-1, joints, 2),
            keypoint_scores=np.array([pose[1] for pose in poses], np.float32).reshape(-1, joints),
            scores=np.array([pose[2] for pose in poses], np.float32),
            spread_px=np.array([pose[3] for pose in poses], np.float32).reshape(-1, joints),
        ),
    )


def _noisy_person(person: dict[str, Any], noise: float, rng: np.random.Generator) -> tuple[Any, ...]:
    truth = np.array(person["keypoints"], float).reshape(-1, 3)
    size_px = np.sqrt(max(person["area"], 1.0))
    sure = rng.uniform(0.3, 1.0)
    points = truth[:, :2].copy()
    labelled = truth[:, 2] > 0
    points[~labelled] = points[labelled].mean(axis=0)
    scatter_px = noise * size_px * (2.0 - 1.8 * sure)
    points += rng.normal(0, scatter_px, points.shape)
    if rng.random() < 0.1:  # a person seen from the wrong side
        points = points[list(COCO.flip_order)]
    scores = np.clip(np.where(labelled, sure, 0.1) + rng.normal(0, 0.05, 17), 0.01, 1.0)
    return points, scores, float(sure * rng.uniform(0.8, 1.0)), np.abs(rng.normal(0, scatter_px / 2, 17))


def _invented(image: dict[str, Any], rng: np.random.Generator) -> tuple[Any, ...]:
    size_px = 0.2 * min(image["width"], image["height"])
    corner = rng.uniform(0, 0.6, 2) * (image["width"], image["height"])
    points = corner + rng.uniform(0, size_px, (17, 2))
    return points, rng.uniform(0.05, 0.3, 17), float(rng.uniform(0.05, 0.3)), rng.uniform(1, 20, 17)


def made_up_set(folder: Path, images: int = 12, seed: int = 0) -> dict[str, Any]:
    """Annotations of made-up people in images of plain gradients, which are written to `folder`."""
    annotations = annotated_people(images, seed)
    folder.mkdir(parents=True, exist_ok=True)
    for image in annotations["images"]:
        (folder / image["file_name"]).write_bytes(encode(gradient(image["width"], image["height"])))
    return annotations


def usable(images: Sequence[ImageResult]) -> list[tuple[ImageResult, Poses]]:
    """The images that did not fail, with their persons."""
    return [(image, image.poses) for image in images if image.poses is not None]
