"""COCO results files, and the archive that the test-dev server takes."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import numpy as np

from pipeline.ground_truth import read_annotations
from pipeline.predictions import open_predictions
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError
from posrefine.metrics import Detections, Finding, Protocol

__all__ = ["server_name", "write_results", "write_submission"]


def write_results(
    storage: Storage, predictions: str, annotations: str, protocol: Protocol, path: Path
) -> tuple[Finding, ...]:
    """Write the predicted persons of all annotated images to `path` as a COCO results file.

    Numbers are in full precision; the third one of every joint is 1, as COCO's format page asks: no scorer
    reads it. Images that occur more than once are written once. Memory holds the annotations and one part of
    the predictions.

    Returns:
        What the checks of the predictions noticed.

    Raises:
        ConfigurationError: files that are not what they should be, or are of different skeletons.
        StorageError: a file cannot be read.
    """
    listed = read_annotations(storage, annotations, protocol)
    opened = open_predictions(storage, predictions, listed, protocol)
    image_ids = listed.truth.image_ids
    written = np.zeros(len(image_ids), bool)
    findings, failed = list(opened.findings), []
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        separator = "\n"
        for part in opened.parts:
            for images in part.read(storage, listed, protocol):
                place = np.searchsorted(image_ids, images.image_ids)
                new = images.image_ids[~written[place]]
                written[place] = True
                own = images.detections.select(np.isin(images.detections.image_ids, new))
                for entry in _entries(own, listed.category_id):
                    file.write(separator + json.dumps(entry, separators=(",", ":")))
                    separator = ",\n"
                findings += images.findings
                failed += images.image_ids[images.failed].tolist()
        file.write("\n]\n")
    findings += Finding.of("images_failed", failed)
    findings += Finding.of("images_missing", image_ids[~written])
    return tuple(Finding.merge(findings))


def _entries(detections: Detections, category_id: int) -> list[dict[str, object]]:
    ones = np.ones((*detections.keypoints.shape[:2], 1))
    rows = np.concatenate([detections.keypoints, ones], axis=2).reshape(len(detections), -1).tolist()
    return [
        {"image_id": image_id, "category_id": category_id, "keypoints": row, "score": score}
        for image_id, row, score in zip(
            detections.image_ids.tolist(), rows, detections.scores.tolist(), strict=True
        )
    ]


def server_name(name: str) -> str:
    """The name, without suffix, that the server wants for results of an algorithm called `name`.

    Raises:
        ConfigurationError: `name` is not of letters, digits, dots and hyphens alone.
    """
    if not re.fullmatch(r"[A-Za-z0-9.-]+", name):
        raise ConfigurationError(
            f"test-dev name {name!r}: expected letters, digits, dots and hyphens, as in DEKR-w32"
        )
    return f"person_keypoints_test-dev2017_{name}_results"


def write_submission(name: str, results: Path, path: Path) -> None:
    """Write a zip to `path` that holds the results under the server's name for them."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(results, f"{server_name(name)}.json")
