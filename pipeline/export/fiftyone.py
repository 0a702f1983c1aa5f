"""FiftyOne: samples with native Keypoints, which keep the scores that are lost on the way through COCO."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from pipeline.export.files import put_json_lines
from pipeline.export.source import ExportedImage, ExportSource, ExportSummary
from pipeline.storage.uris import join_uri
from posrefine.skeletons import Skeleton

__all__ = ["encode_skeleton", "export_fiftyone", "keypoints", "sample"]


def export_fiftyone(source: ExportSource, output: str) -> ExportSummary:
    """Write `samples.jsonl`, a line for each `fiftyone.Sample.from_dict`, and `skeleton.json`.

    Points are shares of the frame. All joints are there, with their scores as `confidence`, so that FiftyOne
    can filter by them; `visible`, by which FiftyOne calls COCO's flags, is 0 for those that somebody who
    corrected the image did not label.

    Raises:
        ConfigurationError: images lie in shards, and `image_root` is not given.
    """
    samples, skeleton = join_uri(output, "samples.jsonl"), join_uri(output, "skeleton.json")
    put_json_lines(
        source.storage,
        samples,
        (
            sample(image, source.address(image), keypoints(image)) | {"image_id": image.image_id}
            for image in source.images()
        ),
    )
    source.storage.put(skeleton, encode_skeleton(source.rows.skeleton))
    return source.summary("fiftyone", samples, skeleton)


def encode_skeleton(skeleton: Skeleton) -> bytes:
    """The arguments of `fiftyone.KeypointSkeleton`, as JSON."""
    about = {"labels": list(skeleton.joints), "edges": [list(limb) for limb in skeleton.limbs]}
    return json.dumps(about, indent=2).encode()


def sample(image: ExportedImage, address: str, persons: list[dict[str, Any]]) -> dict[str, Any]:
    """A sample at an address, with its persons in the field `poses`."""
    return {
        "filepath": address,
        "tags": [],
        "image_key": image.key,
        "metadata": {"_cls": "ImageMetadata", "width": image.width, "height": image.height},
        "poses": {"_cls": "Keypoints", "keypoints": persons},
    }


def keypoints(image: ExportedImage) -> list[dict[str, Any]]:
    """The persons as native `Keypoint`s."""
    poses = image.poses
    points = (poses.keypoints.astype(float) / (image.width, image.height)).round(6).tolist()
    confidence = poses.keypoint_scores.astype(float).round(4).tolist()
    shown = image.visibility(-np.inf).tolist()
    return [
        {
            "_cls": "Keypoint",
            "attributes": {},
            "tags": [],
            "label": "person",
            "points": points[person],
            "confidence": confidence[person],
            "visible": shown[person],
            "person_score": round(float(poses.scores[person]), 4),
        }
        for person in range(len(poses))
    ]
