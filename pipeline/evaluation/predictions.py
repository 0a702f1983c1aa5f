"""Where predictions come from: a run's output, or a COCO results file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.evaluation.predicted_images import (
    IMAGE_COLUMNS,
    PERSON_COLUMNS,
    PredictedImages,
    predicted_images,
)
from pipeline.ground_truth.annotations import Annotations
from pipeline.ground_truth.json_stream import iter_batches
from pipeline.output.files import PersonRows
from pipeline.output.record import UNTRAINED_NOTE
from pipeline.output.row_summary import SUMMARY_COLUMNS, SUMMARY_FIELDS, RowSummary
from pipeline.output.rows import RunRows
from pipeline.output.run_output import RunOutput, Source
from pipeline.storage import Storage
from pipeline.storage.uris import normalise_uri
from posrefine.errors import ConfigurationError
from posrefine.metrics import Detections, DetectionsBuilder, Finding, GroundTruth, OksRules
from posrefine.metrics.detections import drop_unknown_images

__all__ = ["PartOfResults", "PartOfRun", "PredictionPart", "Predictions", "open_predictions"]

_IMAGES_PER_PART = 2_048
_SAMPLE_IMAGES = 20_000


@dataclass(frozen=True)
class PartOfRun:
    """Some files of a run.

    Attributes:
        rows: the files.
        sampled: addresses of those whose images are kept whole for a summary of the rows.
    """

    rows: RunRows
    sampled: frozenset[str]

    def read(
        self, annotations: Annotations, rules: OksRules, *, row_summary: bool
    ) -> tuple[PredictedImages, RowSummary | None]:
        """Their images, each file being read once, and a summary of the rows where one is wanted.

        Raises:
            ConfigurationError: the run's skeleton is not the benchmark's, or file names do not tell which
                image is which.
            ShardError: a file is damaged.
            StorageError: a file cannot be read.
        """
        columns = list(dict.fromkeys([*IMAGE_COLUMNS, *(SUMMARY_COLUMNS if row_summary else ())]))
        fields = list(dict.fromkeys([*PERSON_COLUMNS, *(SUMMARY_FIELDS if row_summary else ())]))
        found = list(self.rows.persons(columns, fields))
        joints = self.rows.skeleton.num_joints
        seen = [
            RowSummary.of(rows, joints, whole=file.uri in self.sampled)
            for file, rows in zip(self.rows.files, found, strict=True)
            if row_summary
        ]
        return _joined(found, annotations, rules), RowSummary.merge(seen) if row_summary else None


@dataclass(frozen=True)
class PartOfResults:
    """Detections of some of the annotated images, out of a results file."""

    image_ids: NDArray[np.int64]
    detections: Detections

    def read(
        self, annotations: Annotations, rules: OksRules, *, row_summary: bool
    ) -> tuple[PredictedImages, RowSummary | None]:
        """They are here already, and there are no rows to sum up."""
        nothing_failed = np.zeros(len(self.image_ids), bool)
        return PredictedImages(None, self.image_ids, nothing_failed, self.detections, ()), None


PredictionPart = PartOfRun | PartOfResults


@dataclass(frozen=True)
class Predictions:
    """Predictions in parts.

    Attributes:
        uri: what the user named.
        parts: can be read apart from each other; read in this order, the first occurrence of an image counts.
        run: the run's files, and what they say of themselves; None for results files.
        findings: what was noticed so far.
    """

    uri: str
    parts: tuple[PredictionPart, ...]
    run: RunRows | None
    findings: tuple[Finding, ...]


def open_predictions(
    storage: Storage,
    uri: str,
    annotations: Annotations,
    rules: OksRules,
    as_of: int | None = None,
    source: Source = "corrected",
) -> Predictions:
    """Find the parts of a run's output, its last generation or an older one, or read a COCO results file.

    Raises:
        ConfigurationError: there is neither, or the results file is none.
        StorageError: it cannot be read.
    """
    if normalise_uri(uri).endswith(".json"):
        return _open_results(storage, uri, annotations, rules)
    try:
        run = RunOutput.rows_at(uri, storage, as_of, source, units_first=True)
    except ConfigurationError as error:
        raise ConfigurationError(f"predictions {error}, or a COCO results file") from error
    code = "poses_mean_nothing" if run.note == UNTRAINED_NOTE else "weights_have_a_note"
    findings = Finding.of(code, [] if run.note is None else [run.note])
    sampled = frozenset(file.uri for file in run.sample(_SAMPLE_IMAGES).files)
    parts = [
        PartOfRun(part, sampled.intersection(file.uri for file in part.files))
        for part in run.parts(_IMAGES_PER_PART)
    ]
    return Predictions(uri, tuple(parts), run, tuple(findings))


def _joined(found: list[PersonRows], annotations: Annotations, rules: OksRules) -> PredictedImages:
    """The images of several files of one run."""
    images = pa.concat_tables([rows.images.select(IMAGE_COLUMNS) for rows in found])
    persons = pa.concat_arrays([rows.persons for rows in found])
    per_image = np.concatenate([rows.per_image for rows in found])
    return predicted_images(images, persons, per_image, annotations, rules)


def _open_results(storage: Storage, uri: str, annotations: Annotations, rules: OksRules) -> Predictions:
    builder = DetectionsBuilder(rules.skeleton.num_joints, annotations.category_id)
    for key, records in iter_batches(storage, uri):
        stranger = next((record for record in records if key != "" or not isinstance(record, dict)), None)
        if key != "" or stranger is not None:
            raise ConfigurationError(
                f"predictions {uri}: expected a COCO results file, one array of entries, "
                f"found {json.dumps(key or stranger)[:100]}"
            )
        builder.add(records)
    detections, findings = builder.build()
    detections, unknown = drop_unknown_images(detections, annotations.truth.image_ids)
    parts = tuple(_result_parts(detections, annotations.truth))
    return Predictions(uri, parts, None, tuple(findings + unknown))


def _result_parts(detections: Detections, truth: GroundTruth) -> Iterator[PartOfResults]:
    """All annotated images in ranges of ids, each with its detections in the order of the file."""
    if np.any(np.diff(detections.image_ids) < 0):
        detections = detections.select(np.argsort(detections.image_ids, kind="stable"))
    ids = detections.image_ids
    for start in range(0, len(truth.image_ids), _IMAGES_PER_PART):
        chosen = truth.image_ids[start : start + _IMAGES_PER_PART]
        own = slice(*np.searchsorted(ids, [chosen[0], chosen[-1] + 1]))
        part = Detections(ids[own], detections.keypoints[own], detections.scores[own])
        yield PartOfResults(chosen, part)
