"""Scores one part of the predictions, in a worker, and merges what the parts bring back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.predictions import PredictionPart
from pipeline.evaluation.results_file import encode_entries
from pipeline.ground_truth.annotations import Annotations
from pipeline.ground_truth.image_names import FoundImages
from pipeline.output.row_summary import RowSummary
from posrefine.metrics import Detections, Finding, GroundTruth, MatchTable, OksRules, match_images
from posrefine.metrics.analysis.breakdown import joint_groups, match_joint_group
from posrefine.metrics.analysis.error_table import ErrorTable, judge_joints

__all__ = ["ScoredPart", "Wanted", "counted_images", "score_images", "score_part"]


@dataclass(frozen=True)
class Wanted:
    """What is wanted of every part besides its matches, so that its files are read once.

    Attributes:
        diagnosis: matches by groups of joints, and verdicts on joints.
        results: the persons as entries of a COCO results file.
        row_summary: what a report shows of a run's rows.
    """

    diagnosis: bool
    results: bool = False
    row_summary: bool = False


@dataclass(frozen=True)
class ScoredPart:
    """Compact matches of some images; of everything else only what is wanted comes back to the driver.

    Attributes:
        matches: of all joints.
        by_joints: of groups of joints alone, by name; empty without diagnosis.
        errors: verdicts on joints; None without diagnosis.
        failed_ids: images that failed in the run.
        findings: what the checks noticed.
        found: the images' keys, in the order of their ids; None where there are none, as in results files.
        entries: of a results file, one a line; empty where they are not wanted.
        row_summary: None where it is not wanted.
    """

    matches: MatchTable
    by_joints: dict[str, MatchTable]
    errors: ErrorTable | None
    failed_ids: NDArray[np.int64]
    findings: tuple[Finding, ...]
    found: FoundImages | None = None
    entries: bytes = b""
    row_summary: RowSummary | None = None

    def select(self, images: NDArray[np.bool_]) -> ScoredPart:
        """The chosen images of the part's own."""
        rows = np.flatnonzero(images)
        gone = self.matches.image_ids[~images]
        return replace(
            self,
            matches=self.matches.select(rows),
            by_joints={name: table.select(rows) for name, table in self.by_joints.items()},
            errors=None if self.errors is None else self.errors.select(rows),
            failed_ids=self.failed_ids[~np.isin(self.failed_ids, gone)],
            found=None if self.found is None else self.found.select(images),
        )

    @staticmethod
    def merge(parts: Sequence[ScoredPart]) -> ScoredPart:
        """All images of parts of which none has an image of another."""
        names = parts[0].by_joints
        errors = [part.errors for part in parts if part.errors is not None]
        summaries = [part.row_summary for part in parts if part.row_summary is not None]
        return ScoredPart(
            matches=MatchTable.merge([part.matches for part in parts]),
            by_joints={name: MatchTable.merge([part.by_joints[name] for part in parts]) for name in names},
            errors=ErrorTable.merge(errors) if errors else None,
            failed_ids=np.unique(np.concatenate([part.failed_ids for part in parts])),
            findings=tuple(Finding.merge(finding for part in parts for finding in part.findings)),
            row_summary=RowSummary.merge(summaries) if summaries else None,
        )


def counted_images(parts: Sequence[ScoredPart]) -> list[ScoredPart]:
    """Every part with the images alone that count there; findings say which were left out.

    An image that several parts hold under different paths counts where the path is the annotations' own; the
    same image more than once counts where it occurs first.

    Raises:
        ConfigurationError: images of different parts end like one file name, and none is equal to it.
    """
    own = _settled(parts)
    ids = np.concatenate([part.matches.image_ids[mask] for part, mask in zip(parts, own, strict=True)])
    first = np.zeros(len(ids), bool)
    first[np.unique(ids, return_index=True)[1]] = True
    counted, start = [], 0
    for part, mask in zip(parts, own, strict=True):
        if mask.all() and first[start : start + len(mask)].all():
            counted.append(part)
            start += len(mask)
            continue
        keep = mask.copy()
        keep[mask] = first[start : start + int(mask.sum())]
        start += int(mask.sum())
        lost = [] if part.found is None else Finding.of("images_not_annotated", part.found.keys[~mask])
        repeated = Finding.of("duplicate_predictions", part.matches.image_ids[mask & ~keep])
        counted.append(replace(part.select(keep), findings=(*part.findings, *lost, *repeated)))
    return counted


def _settled(parts: Sequence[ScoredPart]) -> list[NDArray[np.bool_]]:
    """Of every part, which images no other part holds under the very name of the annotations."""
    masks = iter(FoundImages.settled_together([part.found for part in parts if part.found is not None]))
    return [np.ones(len(part.matches), bool) if part.found is None else next(masks) for part in parts]


def score_part(part: PredictionPart, annotations: Annotations, rules: OksRules, wanted: Wanted) -> ScoredPart:
    """Read a part and match its detections.

    Raises:
        ConfigurationError: predictions of another skeleton, or file names do not tell which image is which.
        ShardError: a file is damaged.
        StorageError: a file cannot be read.
    """
    read, row_summary = part.read(annotations, rules, row_summary=wanted.row_summary)
    truth = annotations.truth.select(np.searchsorted(annotations.truth.image_ids, np.sort(read.image_ids)))
    scored = score_images(truth, read.detections, rules, diagnosis=wanted.diagnosis)
    return replace(
        scored,
        failed_ids=read.image_ids[read.failed],
        findings=read.findings,
        found=None if read.found is None else read.found.select(np.argsort(read.image_ids)),
        entries=encode_entries(read.detections, annotations.category_id) if wanted.results else b"",
        row_summary=row_summary,
    )


def score_images(
    truth: GroundTruth, detections: Detections, rules: OksRules, *, diagnosis: bool
) -> ScoredPart:
    """Match the detections of all images of `truth`."""
    groups = joint_groups(rules.skeleton).items() if diagnosis else ()
    return ScoredPart(
        matches=match_images(truth, detections, rules),
        by_joints={name: match_joint_group(truth, detections, rules, joints) for name, joints in groups},
        errors=judge_joints(truth, detections, rules) if diagnosis else None,
        failed_ids=np.zeros(0, np.int64),
        findings=(),
    )
