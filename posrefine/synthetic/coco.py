"""Scenes' ground truth as annotation files: COCO's form and CrowdPose's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posrefine.skeletons import CROWDPOSE, Skeleton
from posrefine.synthetic.scene import Scene, ScenePerson

__all__ = ["coco_annotations", "image_file_name", "run_length_encoding"]


def coco_annotations(scenes: Iterable[Scene], skeleton: Skeleton, first_image_id: int = 1) -> dict[str, Any]:
    """The annotation file of these scenes, ready for `json.dump` and `pycocotools.coco.COCO`.

    For COCO: boxes and areas of the visible segment, and the segment as uncompressed run lengths. For
    CrowdPose: its 14 joints, boxes around the whole person, `crowdIndex` in every image, and, as in the
    published files, no areas and no segments.

    Args:
        scenes: taken one by one, so they may be rendered on the fly; image ids count up in their order.
        first_image_id: at least 1, since the published CrowdPose tool takes an id of 0 for "no match".
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, scene in enumerate(scenes, start=first_image_id):
        images.append(_image(scene, image_id, skeleton))
        for number, person in enumerate(scene.persons, start=1):
            annotation = {"id": len(annotations) + 1, "image_id": image_id, "category_id": 1, "iscrowd": 0}
            annotations.append(annotation | _person(scene, number, person, skeleton))
    info = {"description": "posrefine synthetic scenes", "version": "1.0"}
    return {
        "info": info,
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [skeleton.coco_category()],
    }


def image_file_name(image_id: int) -> str:
    """The file name of a scene's image: 12 digits, as in COCO."""
    return f"{image_id:012d}.jpg"


def run_length_encoding(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's uncompressed run lengths of a mask [H, W]: zeros first, columns from left to right."""
    flat = mask.T.reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate([[0], changes, [flat.size]])
    counts = np.diff(edges).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


def _image(scene: Scene, image_id: int, skeleton: Skeleton) -> dict[str, Any]:
    height, width = scene.image.shape[:2]
    record = {"id": image_id, "file_name": image_file_name(image_id), "width": width, "height": height}
    return record | ({"crowdIndex": round(scene.crowd_index, 4)} if skeleton.name == CROWDPOSE.name else {})


def _person(scene: Scene, number: int, person: ScenePerson, skeleton: Skeleton) -> dict[str, Any]:
    keypoints = person.keypoints(skeleton)
    record: dict[str, Any] = {
        "keypoints": [round(value, 2) for value in keypoints.reshape(-1).tolist()],
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
    }
    for index in range(2, len(record["keypoints"]), 3):
        record["keypoints"][index] = int(record["keypoints"][index])
    if skeleton.name == CROWDPOSE.name:
        return record | {"bbox": [round(value, 2) for value in person.full_bbox]}
    segmentation = run_length_encoding(scene.instance_map == number)
    return record | {"bbox": list(person.bbox), "area": person.area, "segmentation": segmentation}
