"""Evaluates predictions against annotations: images are matched in parts and merged once.

The parts are matched in this process, or in Ray tasks where there are many images. The driver holds the
annotations as columns and about twenty bytes a detection; a part is held while it is matched.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation import (
    CocoEvaluation,
    Comparison,
    CrowdPoseEvaluation,
    Diagnosis,
    Evaluation,
    PrecisionRecall,
)
from pipeline.evaluation_parts import ScoredPart, score_images, score_part
from pipeline.ground_truth import Annotations, read_annotations
from pipeline.predictions import Predictions, open_predictions
from pipeline.record import code_version
from pipeline.storage import Storage
from pipeline.train_overlap import find_train_overlap
from posrefine.metrics import (
    Detections,
    Finding,
    MatchTable,
    Protocol,
    accumulate,
    metrics_of,
    protocol_named,
)
from posrefine.metrics.breakdown import by_crowd_index, by_joints, by_people, by_size
from posrefine.metrics.diagnosis import calibration, joint_errors, person_errors
from posrefine.metrics.published import published_rows
from posrefine.metrics.resampling import bootstrap_intervals, compare

__all__ = ["EvaluationRequest", "evaluate"]

_IN_PROCESS_IMAGES = 100_000
"""Annotated images up to which Ray's start takes longer than its workers save; see docs/evaluation.md."""


@dataclass(frozen=True)
class EvaluationRequest:
    """What to evaluate, and how.

    Attributes:
        predictions: output of a run, or a COCO results file.
        annotations: annotation file in COCO's form.
        protocol: `coco` or `crowdpose`.
        model: name of the network, for published figures; a run's own is used where this is None.
        other: predictions to compare with.
        train_overlap: annotation file of the training set, or a JSON list of image ids that are in it.
        diagnose: whether to compute more than the benchmark's numbers.
        draws: of the bootstrap.
        seed: of the bootstrap.
        distributed: whether to match in Ray tasks; None: where there are more than 100,000 annotated images.
    """

    predictions: str
    annotations: str
    protocol: str
    model: str | None = None
    other: str | None = None
    train_overlap: str | None = None
    diagnose: bool = True
    draws: int = 1000
    seed: int = 0
    distributed: bool | None = None


def evaluate(request: EvaluationRequest, storage: Storage) -> Evaluation:
    """Score predictions by a benchmark's protocol.

    Raises:
        ConfigurationError: files that are not what they should be, or are of different skeletons.
        StorageError: a file cannot be read.
    """
    started = time.perf_counter()
    protocol = protocol_named(request.protocol)
    annotations = read_annotations(storage, request.annotations, protocol)
    predictions = open_predictions(storage, request.predictions, annotations, protocol)
    scored = _score(predictions, annotations, protocol, storage, request)
    table, crowd_index = scored.matches, annotations.truth.crowd_index
    overlap = np.zeros(0, np.int64)
    if request.train_overlap is not None:
        skeleton = protocol.skeleton
        overlap = find_train_overlap(storage, request.train_overlap, annotations.truth, skeleton)
    clean = np.flatnonzero(~np.isin(table.image_ids, overlap))
    model = request.model or predictions.model
    kind = CocoEvaluation if protocol.name == "coco" else CrowdPoseEvaluation
    return kind(
        **metrics_of(table, crowd_index, protocol).model_dump(),
        protocol=protocol.name,
        predictions=request.predictions,
        annotations=request.annotations,
        model=model,
        weights=predictions.weights,
        images=len(table),
        persons=int(table.positives[:, 0].sum()),
        detections=len(table.scores),
        images_without_detections=int((table.detections_per_image == 0).sum()),
        warnings=(*annotations.findings, *scored.findings, *Finding.of("train_overlap", overlap)),
        numbers_without_train_overlap=(
            metrics_of(table.select(clean), crowd_index[clean], protocol) if len(overlap) else None
        ),
        diagnosis=_diagnose(scored, crowd_index, protocol, request),
        published=published_rows(model or "", protocol.name),
        comparison=_compare(table, annotations, protocol, storage, request),
        seconds=time.perf_counter() - started,
        code_version=code_version(),
        evaluated_at=datetime.now(UTC),
    )


def _compare(
    table: MatchTable,
    annotations: Annotations,
    protocol: Protocol,
    storage: Storage,
    request: EvaluationRequest,
) -> Comparison | None:
    if request.other is None:
        return None
    predictions = open_predictions(storage, request.other, annotations, protocol)
    other = _score(predictions, annotations, protocol, storage, replace(request, diagnose=False))
    crowd_index = annotations.truth.crowd_index
    return Comparison(
        other=request.other,
        differences=compare(
            table, other.matches, crowd_index, protocol, draws=request.draws, seed=request.seed
        ),
        warnings=other.findings,
    )


def _diagnose(
    scored: ScoredPart, crowd_index: NDArray[np.float64], protocol: Protocol, request: EvaluationRequest
) -> Diagnosis | None:
    if scored.errors is None:
        return None
    table = scored.matches
    curves = accumulate(table, protocol).precision[:, :, 0]
    return Diagnosis(
        intervals=bootstrap_intervals(table, crowd_index, protocol, draws=request.draws, seed=request.seed),
        by_size=by_size(table, protocol),
        by_people=by_people(table, protocol),
        by_crowd_index=by_crowd_index(table, crowd_index, protocol),
        by_joints=by_joints(scored.by_joints, protocol),
        persons=person_errors(table),
        joints=joint_errors(scored.errors, protocol),
        calibration=calibration(scored.errors),
        precision_recall=PrecisionRecall(
            oks_thresholds=tuple(protocol.oks_thresholds.tolist()),
            recalls=tuple(protocol.recall_thresholds.tolist()),
            precision=tuple(tuple(row) for row in curves.tolist()),
        ),
    )


def _score(
    predictions: Predictions,
    annotations: Annotations,
    protocol: Protocol,
    storage: Storage,
    request: EvaluationRequest,
) -> ScoredPart:
    """Every annotated image once; those that the predictions do not hold have no detections."""
    distributed = request.distributed
    if distributed is None:
        distributed = len(annotations.truth.image_ids) > _IN_PROCESS_IMAGES
    run = _in_tasks if distributed else _in_process
    parts = list(run(predictions, annotations, protocol, storage, request.diagnose))
    held = np.concatenate([part.matches.image_ids for part in parts])
    absent = np.flatnonzero(~np.isin(annotations.truth.image_ids, held))
    no_ids = np.zeros(0, np.int64)
    missing = score_images(
        truth=annotations.truth.select(absent),
        detections=Detections.none(protocol.skeleton.num_joints),
        protocol=protocol,
        diagnose=request.diagnose,
        failed_ids=no_ids,
        findings=(
            *predictions.findings,
            *Finding.of("images_missing", annotations.truth.image_ids[absent]),
        ),
    )
    merged = ScoredPart.merge([*parts, missing])
    failed = Finding.of("images_failed", merged.failed_ids)
    return replace(merged, findings=(*merged.findings, *failed))


def _in_process(
    predictions: Predictions, annotations: Annotations, protocol: Protocol, storage: Storage, diagnose: bool
) -> Iterator[ScoredPart]:
    for part in predictions.parts:
        yield score_part(part, storage, annotations, protocol, diagnose)


def _in_tasks(
    predictions: Predictions, annotations: Annotations, protocol: Protocol, storage: Storage, diagnose: bool
) -> Iterator[ScoredPart]:
    # Ray takes longer to import than a small evaluation takes.
    from pipeline.evaluation_tasks import score_in_tasks

    return score_in_tasks(predictions.parts, annotations, protocol, storage, diagnose)
