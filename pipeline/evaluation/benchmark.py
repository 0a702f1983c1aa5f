"""`Benchmark`: an annotation file, opened once, and the rules by which predictions are scored against it.

Images are matched in parts and merged once. The parts are matched in this process, or in Ray tasks where
there are many images. The driver holds the annotations as columns and about twenty bytes a detection; a part
is held while it is matched.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.parts import ScoredPart, Wanted, counted_images, score_images, score_part
from pipeline.evaluation.predictions import Predictions, open_predictions
from pipeline.evaluation.result import (
    CocoEvaluation,
    Comparison,
    CrowdPoseEvaluation,
    Diagnosis,
    Evaluation,
    PrecisionRecall,
)
from pipeline.evaluation.results_file import EntrySpool
from pipeline.ground_truth.annotations import Annotations, read_annotations
from pipeline.ground_truth.train_overlap import find_train_overlap
from pipeline.output.row_summary import RowSummary
from pipeline.output.rows import RunRows
from pipeline.output.run_output import Source
from pipeline.storage import Storage
from posrefine.metrics import Detections, Finding, MatchTable, OksRules, accumulate, metrics_of, oks_rules
from posrefine.metrics.analysis.breakdown import by_crowd_index, by_joints, by_people, by_size
from posrefine.metrics.analysis.diagnosis import calibration, joint_errors, person_errors
from posrefine.metrics.analysis.published import published_rows
from posrefine.metrics.analysis.resampling import bootstrap_intervals, compare
from posrefine.version import code_version

__all__ = ["Benchmark", "ScoreOptions", "Scored"]

_IN_PROCESS_IMAGES = 100_000
"""Annotated images up to which Ray's start takes longer than its workers save; see docs/evaluation.md."""


@dataclass(frozen=True)
class ScoreOptions:
    """How to score, and what to find out besides the benchmark's numbers.

    Attributes:
        model: name of the network, for published figures; a run's own is used where this is None.
        other: predictions to compare with.
        train_overlap: annotation file of the training set, or a JSON list of image ids that are in it.
        diagnosis: whether to compute more than the benchmark's numbers.
        draws: of the bootstrap.
        seed: of the bootstrap.
        distributed: whether to match in Ray tasks; None: where there are more than 100,000 annotated images.
        as_of: generation of the run that is scored; None for its last one.
        source: whose persons: people's where they corrected an image, or the network's alone.
        results: local file that gets the persons as a COCO results file; None for none.
        row_summary: whether to gather what a report shows of a run's rows.
    """

    model: str | None = None
    other: str | None = None
    train_overlap: str | None = None
    diagnosis: bool = True
    draws: int = 1000
    seed: int = 0
    distributed: bool | None = None
    as_of: int | None = None
    source: Source = "corrected"
    results: Path | None = None
    row_summary: bool = False


@dataclass(frozen=True)
class Scored:
    """What became of predictions.

    Attributes:
        evaluation: the numbers.
        run: the run's files and what they say of themselves; None for a results file.
        row_summary: of the run's rows; None for a results file, or where none was asked for.
    """

    evaluation: Evaluation
    run: RunRows | None
    row_summary: RowSummary | None


@dataclass(frozen=True)
class Benchmark:
    """Annotated images and the rules of their benchmark.

    Attributes:
        annotations: the content of the annotation file.
        rules: of the benchmark.
        storage: where predictions are.
    """

    annotations: Annotations
    rules: OksRules
    storage: Storage = field(repr=False)

    @staticmethod
    def open(annotations: str, protocol: str, storage: Storage) -> Benchmark:
        """Read an annotation file in COCO's form.

        Args:
            annotations: its address.
            protocol: `coco` or `crowdpose`.
            storage: of the file and of the predictions.

        Raises:
            ConfigurationError: there is no such file, it is none, or has other joints than the benchmark.
            StorageError: it cannot be read.
        """
        rules = oks_rules(protocol)
        return Benchmark(read_annotations(storage, annotations, rules), rules, storage)

    def score(self, predictions: str, options: ScoreOptions) -> Scored:
        """Score a run's output or a COCO results file. Each of its files is read once.

        Raises:
            ConfigurationError: files that are not what they should be, or are of different skeletons.
            ShardError: a file of the run is damaged.
            StorageError: a file cannot be read.
        """
        started = time.perf_counter()
        opened = open_predictions(
            self.storage, predictions, self.annotations, self.rules, options.as_of, options.source
        )
        wanted = Wanted(options.diagnosis, options.results is not None, options.row_summary)
        scored = self._match(opened, options, wanted)
        table, truth = scored.matches, self.annotations.truth
        overlap = np.zeros(0, np.int64)
        if options.train_overlap is not None:
            overlap = find_train_overlap(self.storage, options.train_overlap, truth, self.rules.skeleton)
        clean = np.flatnonzero(~np.isin(table.image_ids, overlap))
        model = options.model or (opened.run.model if opened.run else None) or None
        kind = CocoEvaluation if self.rules.name == "coco" else CrowdPoseEvaluation
        evaluation = kind(
            **metrics_of(table, truth.crowd_index, self.rules).model_dump(),
            protocol=self.rules.name,
            predictions=predictions,
            annotations=self.annotations.uri,
            model=model,
            weights=(opened.run.weights if opened.run else None) or None,
            images=len(table),
            persons=int(table.positives[:, 0].sum()),
            detections=len(table.scores),
            images_without_detections=int((table.detections_per_image == 0).sum()),
            warnings=(*self.annotations.findings, *scored.findings, *Finding.of("train_overlap", overlap)),
            numbers_without_train_overlap=(
                metrics_of(table.select(clean), truth.crowd_index[clean], self.rules)
                if len(overlap)
                else None
            ),
            diagnosis=_diagnose(scored, truth.crowd_index, self.rules, options),
            published=published_rows(model or "", self.rules.name),
            comparison=self._compare(table, options),
            seconds=time.perf_counter() - started,
            code_version=code_version(),
            evaluated_at=datetime.now(UTC),
        )
        return Scored(evaluation, opened.run, scored.row_summary)

    def write_results(self, predictions: str, path: Path) -> tuple[Finding, ...]:
        """Write the persons of all annotated images to `path` as a COCO results file, without scoring them.

        Returns:
            What the checks of the predictions noticed.

        Raises as `score` does.
        """
        opened = open_predictions(self.storage, predictions, self.annotations, self.rules)
        options = ScoreOptions(diagnosis=False, distributed=False, results=path)
        return self._match(opened, options, Wanted(diagnosis=False, results=True)).findings

    def _compare(self, table: MatchTable, options: ScoreOptions) -> Comparison | None:
        if options.other is None:
            return None
        opened = open_predictions(self.storage, options.other, self.annotations, self.rules)
        other = self._match(opened, options, Wanted(diagnosis=False))
        index = self.annotations.truth.crowd_index
        return Comparison(
            other=options.other,
            differences=compare(
                table, other.matches, index, self.rules, draws=options.draws, seed=options.seed
            ),
            warnings=other.findings,
        )

    def _match(self, predictions: Predictions, options: ScoreOptions, wanted: Wanted) -> ScoredPart:
        """Every annotated image once; those that the predictions do not hold have no detections."""
        truth = self.annotations.truth
        with tempfile.TemporaryDirectory(prefix="posrefine-results-") as folder:
            spool, parts = EntrySpool(Path(folder)), []
            for part in self._scored_parts(predictions, options, wanted):
                spool.add(part.entries)
                parts.append(replace(part, entries=b""))
            parts = counted_images(parts)
            if wanted.results and options.results is not None:
                spool.write(options.results, [part.matches.image_ids for part in parts])
        held = np.concatenate([part.matches.image_ids for part in parts])
        absent = np.flatnonzero(~np.isin(truth.image_ids, held))
        nobody = Detections.none(self.rules.skeleton.num_joints)
        missing = score_images(truth.select(absent), nobody, self.rules, diagnosis=wanted.diagnosis)
        findings = (*predictions.findings, *Finding.of("images_missing", truth.image_ids[absent]))
        merged = ScoredPart.merge([*parts, replace(missing, findings=findings)])
        failed = Finding.of("images_failed", merged.failed_ids)
        return replace(merged, findings=(*merged.findings, *failed))

    def _scored_parts(
        self, predictions: Predictions, options: ScoreOptions, wanted: Wanted
    ) -> Iterator[ScoredPart]:
        distributed = options.distributed
        if distributed is None:
            distributed = len(self.annotations.truth.image_ids) > _IN_PROCESS_IMAGES
        if not distributed:
            return (score_part(part, self.annotations, self.rules, wanted) for part in predictions.parts)
        # Ray takes longer to import than a small evaluation takes.
        from pipeline.ray_session import map_in_tasks

        return map_in_tasks(score_part, predictions.parts, self.annotations, self.rules, wanted)


def _diagnose(
    scored: ScoredPart,
    crowd_index: NDArray[np.float64],
    rules: OksRules,
    options: ScoreOptions,
) -> Diagnosis | None:
    if scored.errors is None:
        return None
    table = scored.matches
    curves = accumulate(table, rules).precision[:, :, 0]
    return Diagnosis(
        intervals=bootstrap_intervals(table, crowd_index, rules, draws=options.draws, seed=options.seed),
        by_size=by_size(table, rules),
        by_people=by_people(table, rules),
        by_crowd_index=by_crowd_index(table, crowd_index, rules),
        by_joints=by_joints(scored.by_joints, rules),
        persons=person_errors(table),
        joints=joint_errors(scored.errors, rules),
        calibration=calibration(scored.errors),
        precision_recall=PrecisionRecall(
            oks_thresholds=tuple(rules.oks_thresholds.tolist()),
            recalls=tuple(rules.recall_thresholds.tolist()),
            precision=tuple(tuple(row) for row in curves.tolist()),
        ),
    )
