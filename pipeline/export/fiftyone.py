"""FiftyOne: samples with native Keypoints, which keep the scores that are lost on the way through COCO."""

from __future__ import annotations

import json
from typing import Any

from pipeline.export.files import put_json_lines
from pipeline.export.source import ExportedImage, ExportSource, ExportSummary
from pipeline.uris import join_uri

__all__ = ["export_fiftyone"]


def export_fiftyone(source: ExportSource, output: str) -> ExportSummary:
    """Write `samples.jsonl`, a line for each `fiftyone.Sample.from_dict`, and `skeleton.json`.

    Points are shares of the frame. All joints are there, with their scores as `confidence`, so that FiftyOne
    can filter by them.

    Raises:
        ConfigurationError: images lie in shards, and `image_root` is not given.
    """
    samples, skeleton = join_uri(output, "samples.jsonl"), join_uri(output, "skeleton.json")
    put_json_lines(source.storage, samples, (_sample(image, source) for image in source.images()))
    about = {
        "labels": list(source.rows.skeleton.joints),
        "edges": [list(e) for e in source.rows.skeleton.limbs],
    }
    source.storage.put(skeleton, json.dumps(about, indent=2).encode())
    return source.summary("fiftyone", samples, skeleton)


def _sample(image: ExportedImage, source: ExportSource) -> dict[str, Any]:
    return {
        "filepath": source.address(image),
        "tags": [],
        "image_key": image.key,
        "image_id": image.image_id,
        "metadata": {"_cls": "ImageMetadata", "width": image.width, "height": image.height},
        "poses": {"_cls": "Keypoints", "keypoints": _keypoints(image)},
    }


def _keypoints(image: ExportedImage) -> list[dict[str, Any]]:
    poses = image.poses
    points = (poses.keypoints.astype(float) / (image.width, image.height)).round(6).tolist()
    confidence = poses.keypoint_scores.astype(float).round(4).tolist()
    return [
        {
            "_cls": "Keypoint",
            "attributes": {},
            "tags": [],
            "label": "person",
            "points": points[person],
            "confidence": confidence[person],
            "person_score": round(float(poses.scores[person]), 4),
        }
        for person in range(len(poses))
    ]
