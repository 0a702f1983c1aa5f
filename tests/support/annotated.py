"""Made-up annotation files, predictions and runs for tests of evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.output.parquet import encode_table
from pipeline.output.schema import (
    ImageResult,
    TableMetadata,
    as_found,
    images_table,
    persons_table,
    unit_table,
)
from posrefine.errors import ImageStatus
from posrefine.poses import Poses
from posrefine.skeletons import SKELETONS, Skeleton


def annotated_people(
    images: int, seed: int = 0, *, skeleton: str = "coco", most_people: int = 4
) -> dict[str, Any]:
    """A COCO-form annotation file of images 640 x 480 with up to `most_people` fully labelled persons."""
    rng = np.random.default_rng(seed)
    joints = SKELETONS[skeleton].num_joints
    people: list[dict[str, Any]] = []
    entries = []
    for image_id in range(1, images + 1):
        entry = {"id": image_id, "file_name": f"{image_id:012d}.jpg", "width": 640, "height": 480}
        entries.append(entry | ({"crowdIndex": float(rng.random())} if skeleton == "crowdpose" else {}))
        for _ in range(int(rng.integers(0, most_people + 1))):
            people.append(person_at(image_id, len(people) + 1, rng.uniform(20, 300, 2), joints, rng))
    category = {"id": 1, "name": "person", "keypoints": list(SKELETONS[skeleton].joints)}
    return {"images": entries, "annotations": people, "categories": [category]}


def person_at(
    image_id: int, annotation_id: int, corner_px: Any, joints: int, rng: np.random.Generator
) -> dict[str, Any]:
    """A person of 80 x 160 px with all joints labelled."""
    points = np.concatenate(
        [np.asarray(corner_px) + rng.uniform(0, (80, 160), (joints, 2)), np.full((joints, 1), 2)], 1
    )
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [float(corner_px[0]), float(corner_px[1]), 80.0, 160.0],
        "area": 80.0 * 160.0,
        "keypoints": np.round(points, 2).ravel().tolist(),
        "num_keypoints": joints,
    }


def results_of(
    annotations: dict[str, Any], *, noise_px: float = 3.0, seed: int = 0, miss: float = 0.1
) -> list[dict[str, Any]]:
    """One detection for most persons, float32-exact as those of a run are, with scores that differ."""
    rng = np.random.default_rng(seed)
    results = []
    for person in annotations["annotations"]:
        if rng.random() < miss:
            continue
        points = np.array(person["keypoints"], np.float32).reshape(-1, 3)
        points[:, :2] += rng.normal(0, noise_px, points[:, :2].shape).astype(np.float32)
        points[:, 2] = 1
        results.append(
            {
                "image_id": person["image_id"],
                "category_id": 1,
                "keypoints": points.ravel().tolist(),
                "score": float(np.float32(rng.random())),
            }
        )
    return results


def image_rows(
    annotations: dict[str, Any], results: list[dict[str, Any]], **changes: Any
) -> list[ImageResult]:
    """The rows of a run over all annotated images that found these results, with some fields changed."""
    rows = []
    for image in annotations["images"]:
        found = [entry for entry in results if entry["image_id"] == image["id"]]
        found.sort(key=lambda entry: -entry["score"])
        fields = {
            "image_key": image["file_name"],
            "image_id": None,
            "uri": f"s3://bucket/{image['file_name']}",
            "width": image["width"],
            "height": image["height"],
            "exif_orientation": 1,
            "sha256": "00",
            "status": ImageStatus.OK,
            "poses": poses_of(found, len(annotations["categories"][0]["keypoints"])),
        }
        rows.append(ImageResult(**(fields | changes)))
    return rows


def poses_of(found: list[dict[str, Any]], joints: int) -> Poses:
    """Results of one image as the predictor would give them."""
    if not found:
        return Poses.none(joints)
    points = np.array([entry["keypoints"] for entry in found], np.float32).reshape(-1, joints, 3)
    return Poses(
        keypoints=points[..., :2],
        keypoint_scores=points[..., 2],
        scores=np.array([entry["score"] for entry in found], np.float32),
        spread_px=np.full(points.shape[:2], np.nan, np.float32),
    )


def write_units(
    output: Path,
    units: list[list[ImageResult]],
    *,
    skeleton: Skeleton,
    exif: str = "apply",
    note: str | None = None,
) -> None:
    """`units/*.parquet` as a run commits them."""
    (output / "units").mkdir(parents=True)
    for number, rows in enumerate(units):
        table = unit_table(f"u{number:06d}", rows)
        path = output / "units" / f"u{number:06d}.parquet"
        path.write_bytes(encode_table(table, _metadata(skeleton, exif, note)))


def write_tables(output: Path, units: list[list[ImageResult]], *, skeleton: Skeleton) -> None:
    """`tables/images` and `tables/persons`, one pair of files a unit."""
    for name in ("images", "persons"):
        (output / "tables" / name).mkdir(parents=True)
    for number, rows in enumerate(units):
        table = unit_table(f"u{number:06d}", rows)
        for name, part in (
            ("images", images_table(as_found(table))),
            ("persons", persons_table(as_found(table))),
        ):
            path = output / "tables" / name / f"part-g0001-{number:05d}-0.parquet"
            path.write_bytes(encode_table(part, _metadata(skeleton, "apply")))


def write_json(path: Path, value: Any) -> str:
    """Writes the value and returns the path as the tools take it."""
    path.write_text(json.dumps(value))
    return str(path)


def _metadata(skeleton: Skeleton, exif: str, note: str | None = None) -> dict[bytes, bytes]:
    return TableMetadata(
        skeleton=skeleton,
        model="dekr_w32",
        weights="w.safetensors",
        weights_sha256="00",
        settings=json.dumps({"exif": exif}),
        code_version="0",
        run_id="00ab",
        note=note,
    ).encode()
