"""COCO's two forms: results, which evaluators read, and ground truth, which annotation tools read."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.export.files import put_zipped, read_pieces, spooled, write_array
from pipeline.export.source import ExportedImage, ExportSource, ExportSummary
from pipeline.uris import join_uri
from posrefine.errors import ConfigurationError, ImageStatus
from posrefine.skeletons import Skeleton

__all__ = ["export_coco", "export_coco_results"]

_PERSON = 1
_AREA_SHARE = 0.53
"""Of a box's w*h, that stands for the segment's area, which is not known here: CrowdPose's convention."""
_NOT_LABELLED, _VISIBLE = 0, 2


def export_coco_results(source: ExportSource, output: str) -> ExportSummary:
    """Write `results.json`: [{image_id, category_id, keypoints [x, y, score]*K, score}], in full precision.

    Raises:
        ConfigurationError: images have no id, or share one.
    """
    source.applies_exif = False
    _require_own_ids(source)
    uri = join_uri(output, "results.json")
    with spooled(source.storage, uri) as file:
        write_array(file, (entry for image in source.images() for entry in _results(image)))
    return source.summary("coco-results", uri)


def _results(image: ExportedImage) -> Iterator[dict[str, Any]]:
    poses = image.poses
    triples = np.concatenate([poses.keypoints, poses.keypoint_scores[:, :, None]], axis=2)
    for keypoints, score in zip(
        triples.reshape(len(poses), 3 * poses.keypoints.shape[1]).tolist(), poses.scores.tolist(), strict=True
    ):
        yield {"image_id": image.image_id, "category_id": _PERSON, "keypoints": keypoints, "score": score}


def export_coco(source: ExportSource, output: str) -> ExportSummary:
    """Write `coco_keypoints.zip` with annotations/person_keypoints_default.json, CVAT's "COCO Keypoints 1.0".

    Ids are the run's if all images have one of their own, else 1, 2, 3 and so on. Joints below the wanted
    score are 0, 0, 0; the others have flag 2. Scores are in `attributes`, and `area` is 0.53 of the box's.
    """
    numbered = not _has_own_ids(source)
    uri = join_uri(output, "coco_keypoints.zip")
    with tempfile.TemporaryFile("w+", encoding="utf-8") as people:
        put_zipped(
            source.storage,
            uri,
            "annotations/person_keypoints_default.json",
            _ground_truth(source, people, numbered),
        )
    return source.summary("coco", uri)


def _ground_truth(source: ExportSource, people: IO[str], numbered: bool) -> Iterator[str]:
    """The file in pieces. Images are written as they pass; their persons gather in `people` meanwhile."""
    about = [source.rows.model, source.rows.weights, source.rows.note]
    head = {"info": {"description": ", ".join(part for part in about if part)}, "licenses": []}
    yield (
        json.dumps(head)[:-1]
        + f', "categories": {json.dumps([_category(source.rows.skeleton)])}, "images": ['
    )
    annotations = 0
    for number, image in enumerate(source.images(), start=1):
        image_id = number if numbered or image.image_id is None else image.image_id
        record = {"id": image_id, "file_name": image.key, "width": image.width, "height": image.height}
        yield ("" if number == 1 else ",") + "\n" + json.dumps(record)
        for person in _people(image, image_id, source.options.min_keypoint_score):
            annotations += 1
            people.write(("" if annotations == 1 else ",") + "\n" + json.dumps({"id": annotations} | person))
    yield '\n], "annotations": ['
    yield from read_pieces(people)
    yield "\n]}\n"


def _category(skeleton: Skeleton) -> dict[str, Any]:
    return {
        "id": _PERSON,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(skeleton.joints),
        "skeleton": [[a + 1, b + 1] for a, b in skeleton.limbs],
    }


def _people(image: ExportedImage, image_id: int, min_keypoint_score: float) -> Iterator[dict[str, Any]]:
    poses = image.poses
    labelled = poses.keypoint_scores >= min_keypoint_score
    boxes = poses.boxes_xywh.astype(float).round(2)
    for person in range(len(poses)):
        x, y, width, height = boxes[person].tolist()
        yield {
            "image_id": image_id,
            "category_id": _PERSON,
            "iscrowd": 0,
            "segmentation": [],
            "bbox": [x, y, width, height],
            "area": round(_AREA_SHARE * width * height, 2),
            "keypoints": _flagged(poses.keypoints[person], labelled[person]),
            "num_keypoints": int(labelled[person].sum()),
            "attributes": {"score": round(float(poses.scores[person]), 4)},
        }


def _flagged(points: NDArray[np.float32], labelled: NDArray[np.bool_]) -> list[float]:
    flat: list[float] = []
    for (x, y), known in zip(points.astype(float).round(2).tolist(), labelled.tolist(), strict=True):
        flat += [x, y, _VISIBLE] if known else [0, 0, _NOT_LABELLED]
    return flat


def _ids(source: ExportSource) -> tuple[int, NDArray[np.int64]]:
    """How many images with poses have no id, and the ids of the others."""
    missing, ids = 0, [np.zeros(0, np.int64)]
    for table in source.rows.columns(source.storage, ["image_id", "status"]):
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
