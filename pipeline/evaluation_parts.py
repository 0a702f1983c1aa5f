"""Scores one part of the predictions, in a worker, and merges what the parts bring back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.ground_truth import Annotations
from pipeline.predicted_images import PredictedImages
from pipeline.predictions import PredictionPart
from pipeline.storage import Storage
from posrefine.metrics import Detections, Finding, GroundTruth, MatchTable, Protocol, match_images
from posrefine.metrics.breakdown import joint_groups, match_joint_group
from posrefine.metrics.error_table import ErrorTable, judge_joints

__all__ = ["ScoredPart", "score_part"]


@dataclass(frozen=True)
class ScoredPart:
    """Compact matches of some images; of everything else only counts come back to the driver.

    Attributes:
        matches: of all joints.
        by_joints: of groups of joints alone, by name; empty without diagnosis.
        errors: verdicts on joints; None without diagnosis.
        failed_ids: images that failed in the run.
        findings: what the checks noticed.
    """

    matches: MatchTable
    by_joints: dict[str, MatchTable]
    errors: ErrorTable | None
    failed_ids: NDArray[np.int64]
    findings: tuple[Finding, ...]

    @staticmethod
    def merge(parts: Sequence[ScoredPart]) -> ScoredPart:
        """All images of all parts, each once, the first part's rows of it."""
        matches = MatchTable.merge([part.matches for part in parts])
        repeated = sum(len(part.matches) for part in parts) - len(matches)
        findings = [finding for part in parts for finding in part.findings]
        if repeated:
            findings += Finding.of("duplicate_predictions", _repeated_ids(parts))
        names = parts[0].by_joints
        errors = [part.errors for part in parts if part.errors is not None]
        return ScoredPart(
            matches=matches,
            by_joints={name: MatchTable.merge([part.by_joints[name] for part in parts]) for name in names},
            errors=ErrorTable.merge(errors) if errors else None,
            failed_ids=np.unique(np.concatenate([part.failed_ids for part in parts])),
            findings=tuple(Finding.merge(findings)),
        )


def score_part(
    part: PredictionPart, storage: Storage, annotations: Annotations, protocol: Protocol, diagnose: bool
) -> ScoredPart:
    """Read a part and match its detections.

    Raises:
        ConfigurationError: predictions of another skeleton.
        StorageError: a file cannot be read.
    """
    read = _joined(part.read(storage, annotations, protocol), protocol)
    truth = annotations.truth.select(np.searchsorted(annotations.truth.image_ids, np.sort(read.image_ids)))
    failed_ids = read.image_ids[read.failed]
    return score_images(truth, read.detections, protocol, diagnose, failed_ids, read.findings)


def score_images(
    truth: GroundTruth,
    detections: Detections,
    protocol: Protocol,
    diagnose: bool,
    failed_ids: NDArray[np.int64],
    findings: tuple[Finding, ...],
) -> ScoredPart:
    """Match the detections of all images of `truth`."""
    groups = joint_groups(protocol.skeleton).items() if diagnose else ()
    return ScoredPart(
        matches=match_images(truth, detections, protocol),
        by_joints={name: match_joint_group(truth, detections, protocol, joints) for name, joints in groups},
        errors=judge_joints(truth, detections, protocol) if diagnose else None,
        failed_ids=failed_ids,
        findings=findings,
    )


def _joined(pieces: Sequence[PredictedImages], protocol: Protocol) -> PredictedImages:
    """One piece of all, in which every image is there once."""
    image_ids = np.concatenate([piece.image_ids for piece in pieces])
    failed = np.concatenate([piece.failed for piece in pieces])
    found = [piece.detections for piece in pieces]
    detections = Detections(
        np.concatenate([one.image_ids for one in found]),
        np.concatenate([one.keypoints for one in found]),
        np.concatenate([one.scores for one in found]),
    )
    findings = [finding for piece in pieces for finding in piece.findings]
    first = np.zeros(len(image_ids), bool)
    first[np.unique(image_ids, return_index=True)[1]] = True
    if not first.all():
        piece_of_image = np.repeat(np.arange(len(pieces)), [len(piece.image_ids) for piece in pieces])
        piece_of_person = np.repeat(np.arange(len(pieces)), [len(one) for one in found])
        owner = dict(zip(image_ids[first].tolist(), piece_of_image[first].tolist(), strict=True))
        owners = np.array([owner[image_id] for image_id in detections.image_ids.tolist()], np.int64)
        detections = detections.select(piece_of_person == owners)
        findings += Finding.of("duplicate_predictions", image_ids[~first])
    return PredictedImages(image_ids[first], failed[first], detections, tuple(Finding.merge(findings)))


def _repeated_ids(parts: Sequence[ScoredPart]) -> NDArray[np.int64]:
    """The image ids of every occurrence but the first."""
    ids = np.sort(np.concatenate([part.matches.image_ids for part in parts]))
    repeated: NDArray[np.int64] = ids[1:][np.diff(ids) == 0]
    return repeated
