"""Predictions scored against an annotation file, and the report about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.annotated import write_json

from pipeline.evaluation.benchmark import Benchmark, Scored, ScoreOptions
from pipeline.evaluation.result import Evaluation
from pipeline.report import report_evaluation
from pipeline.storage import Storage
from posrefine.metrics import CocoMetrics


@dataclass(frozen=True)
class ScoredPredictions:
    benchmark: Benchmark
    scored: Scored

    @property
    def evaluation(self) -> Evaluation:
        return self.scored.evaluation

    def report(self, output: Path | str, **options: Any) -> str:
        return report_evaluation(self.scored, self.benchmark, str(output), **options)


def score(
    predictions: Path | str,
    annotations: Path | str,
    protocol: str = "coco",
    storage: Storage | None = None,
    **options: Any,
) -> ScoredPredictions:
    """Of a run's output with a row_summary at its rows, so that it can be reported."""
    benchmark = Benchmark.open(str(annotations), protocol, storage or Storage())
    options = {"row_summary": True, "distributed": False} | options
    return ScoredPredictions(benchmark, benchmark.score(str(predictions), ScoreOptions(**options)))


def evaluated(
    tmp_path: Path, annotations: dict[str, Any], predictions: Path | str, **options: Any
) -> Evaluation:
    """The numbers of predictions against annotations, without a diagnosis unless it is asked for."""
    file = write_json(tmp_path / "annotations.json", annotations)
    return score(predictions, file, **({"diagnosis": False} | options)).evaluation


def numbers(evaluation: Evaluation) -> list[float]:
    """COCO's ten."""
    return [getattr(evaluation, name) for name in CocoMetrics.model_fields]


def warnings(evaluation: Evaluation) -> dict[str, int]:
    """How often each was found."""
    return {finding.code: finding.count for finding in evaluation.warnings}


def in_units(rows: list[Any], size: int = 16) -> list[list[Any]]:
    """Rows in units of so many."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]
