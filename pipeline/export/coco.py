"""COCO's two forms: results, which evaluators read, and ground truth, which annotation tools read."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.export.files import put_zipped, read_pieces, spooled, write_array
from pipeline.export.source import ExportedImage, ExportSource, ExportSummary
from pipeline.storage import Storage
from pipeline.storage.uris import join_uri
from posrefine.errors import ConfigurationError, ImageStatus
from posrefine.skeletons import Skeleton

__all__ = [
    "export_coco",
    "export_coco_results",
    "ground_truth_pieces",
    "image_record",
    "people",
    "put_ground_truth",
]

_PERSON = 1
_AREA_SHARE = 0.53
"""Of a box's w*h, that stands for the segment's area, which is not known here: CrowdPose's convention."""


def export_coco_results(source: ExportSource, output: str) -> ExportSummary:
    """Write `results.json`: [{image_id, category_id, keypoints [x, y, score]*K, score}], in full precision.

    Raises:
        ConfigurationError: images have no id, or share one.
    """
    source.applies_exif, source.is_scored = False, True
    _require_own_ids(source)
    uri = join_uri(output, "results.json")
    with spooled(source.storage, uri) as file:
        write_array(file, (entry for image in source.images() for entry in _results(image)))
    return source.summary("coco-results", uri)


def _results(image: ExportedImage) -> list[dict[str, Any]]:
    return image.poses.to_coco(image_id=cast("int", image.image_id))  # all have one, as was required above


def export_coco(source: ExportSource, output: str) -> ExportSummary:
    """Write `coco_keypoints.zip` with annotations/person_keypoints_default.json, CVAT's "COCO Keypoints 1.0".

    Ids are the run's if all images have one of their own, else 1, 2, 3 and so on. Joints below the wanted
    score are 0, 0, 0; the others have flag 2, or the one that people gave them. Scores are in `attributes`,
    and `area` is 0.53 of the box's.
    """
    numbered = not _has_own_ids(source)
    uri = join_uri(output, "coco_keypoints.zip")
    about = [source.rows.model, source.rows.weights, source.rows.note]
    put_ground_truth(
        source.storage,
        uri,
        ", ".join(part for part in about if part),
        source.rows.skeleton,
        (
            _with_people(image, number, source, numbered)
            for number, image in enumerate(source.images(), start=1)
        ),
    )
    return source.summary("coco", uri)


def _with_people(
    image: ExportedImage, number: int, source: ExportSource, numbered: bool
) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
    image_id = number if numbered or image.image_id is None else image.image_id
    visibility = image.visibility(source.options.min_keypoint_score)
    return image_record(image, image_id), people(image, image_id, visibility)


def put_ground_truth(
    storage: Storage,
    uri: str,
    description: str,
    skeleton: Skeleton,
    images: Iterable[tuple[dict[str, Any], Iterable[dict[str, Any]]]],
) -> None:
    """Put a zip as CVAT's "COCO Keypoints 1.0" wants it; memory is that of one image.

    Args:
        storage: for the zip.
        uri: of it.
        description: of the set.
        skeleton: of the persons.
        images: each one's record with its persons', whose ids are given here.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as spool:
        pieces = ground_truth_pieces(description, skeleton, images, spool)
        put_zipped(storage, uri, "annotations/person_keypoints_default.json", pieces)


def ground_truth_pieces(
    description: str,
    skeleton: Skeleton,
    images: Iterable[tuple[dict[str, Any], Iterable[dict[str, Any]]]],
    spool: IO[str],
) -> Iterator[str]:
    """The file in pieces. Images are written as they pass; their persons gather in `spool` meanwhile."""
    head = {"info": {"description": description}, "licenses": []}
    yield json.dumps(head)[:-1] + f', "categories": {json.dumps([skeleton.coco_category()])}, "images": ['
    annotations = 0
    for number, (record, persons) in enumerate(images, start=1):
        yield ("" if number == 1 else ",") + "\n" + json.dumps(record)
        for person in persons:
            annotations += 1
            spool.write(("" if annotations == 1 else ",") + "\n" + json.dumps({"id": annotations} | person))
    yield '\n], "annotations": ['
    yield from read_pieces(spool)
    yield "\n]}\n"


def image_record(image: ExportedImage, image_id: int) -> dict[str, Any]:
    """What the form says of an image."""
    return {"id": image_id, "file_name": image.key, "width": image.width, "height": image.height}


def people(image: ExportedImage, image_id: int, visibility: NDArray[np.int8]) -> Iterator[dict[str, Any]]:
    """The persons of an image; joints have the flags of `visibility` ([N, K]), and are 0, 0, 0 at 0."""
    poses = image.poses
    boxes = image.boxes_xywh.astype(float).round(2)
    for person in range(len(poses)):
        x, y, width, height = boxes[person].tolist()
        yield {
            "image_id": image_id,
            "category_id": _PERSON,
            "iscrowd": 0,
            "segmentation": [],
            "bbox": [x, y, width, height],
            "area": round(_AREA_SHARE * width * height, 2),
            "keypoints": _flagged(poses.keypoints[person], visibility[person]),
            "num_keypoints": int((visibility[person] > 0).sum()),
            "attributes": {"score": round(float(poses.scores[person]), 4)},
        }


def _flagged(points: NDArray[np.float32], visibility: NDArray[np.int8]) -> list[float]:
    flat: list[float] = []
    for (x, y), flag in zip(points.astype(float).round(2).tolist(), visibility.tolist(), strict=True):
        flat += [x, y, flag] if flag else [0, 0, 0]
    return flat


def _ids(source: ExportSource) -> tuple[int, NDArray[np.int64]]:
    """How many images with poses have no id, and the ids of the others."""
    missing, ids = 0, [np.zeros(0, np.int64)]
    for table in source.rows.columns(["image_id", "status"]):
        usable = table.filter(np.asarray(table["status"]) == ImageStatus.OK.value)
        missing += usable["image_id"].null_count
        ids.append(np.asarray(usable["image_id"].drop_null(), np.int64))
    return missing, np.concatenate(ids)


def _has_own_ids(source: ExportSource) -> bool:
    missing, ids = _ids(source)
    return missing == 0 and len(np.unique(ids)) == len(ids)


def _require_own_ids(source: ExportSource) -> None:
    missing, ids = _ids(source)
    if missing:
        raise ConfigurationError(
            f"coco-results: {missing:,} images have no id, and their file names are no numbers; annotate "
            "with --annotations, the file that results are to be scored against"
        )
    values, counts = np.unique(ids, return_counts=True)
    shared = values[counts > 1]
    if len(shared):
        raise ConfigurationError(
            f"coco-results: {len(shared):,} ids stand for several images, as {shared[0]}; annotate with "
            "--annotations, the file that results are to be scored against"
        )
