"""COCO results files, and the archive that the test-dev server takes."""

from __future__ import annotations

import io
import json
import re
import zipfile
from dataclasses import dataclass

import numpy as np

from pipeline.ground_truth import Annotations, read_annotations
from pipeline.predictions import open_predictions
from pipeline.storage import Storage
from posrefine.errors import ConfigurationError
from posrefine.metrics import Detections, Finding, Protocol

__all__ = ["ResultsFile", "results_file", "server_name", "submission_zip"]


@dataclass(frozen=True)
class ResultsFile:
    """A COCO results file, and what the checks of the predictions noticed."""

    data: bytes
    findings: tuple[Finding, ...]


def results_file(storage: Storage, predictions: str, annotations: str, protocol: Protocol) -> ResultsFile:
    """The predicted persons of all annotated images as a COCO results file, in full precision.

    The third number of every joint is 1, as COCO's format page asks: no scorer reads it. Images that occur
    more than once are written once. Memory grows with the file, about 0.6 kB a person.

    Raises:
        ConfigurationError: files that are not what they should be, or are of different skeletons.
        StorageError: a file cannot be read.
    """
    listed = read_annotations(storage, annotations, protocol)
    opened = open_predictions(storage, predictions, listed, protocol)
    sink = io.BytesIO(b"[")
    sink.seek(1)
    findings, failed, written = list(opened.findings), [], np.zeros(0, np.int64)
    for part in opened.parts:
        for images in part.read(storage, listed, protocol):
            new = np.setdiff1d(images.image_ids, written)
            written = np.union1d(written, new)
            _append(sink, images.detections.select(np.isin(images.detections.image_ids, new)), listed)
            findings += images.findings
            failed += images.image_ids[images.failed].tolist()
    sink.write(b"\n]\n")
    findings += Finding.of("images_failed", failed)
    findings += Finding.of("images_missing", np.setdiff1d(listed.truth.image_ids, written))
    return ResultsFile(sink.getvalue(), tuple(Finding.merge(findings)))


def _append(sink: io.BytesIO, detections: Detections, annotations: Annotations) -> None:
    for entry in _entries(detections, annotations.category_id):
        separator = b",\n" if sink.tell() > 1 else b"\n"
        sink.write(separator + json.dumps(entry, separators=(",", ":")).encode())


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


def submission_zip(name: str, results: bytes) -> bytes:
    """A zip that holds the results under the server's name for them."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{server_name(name)}.json", results)
    return sink.getvalue()
