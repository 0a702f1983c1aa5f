"""Predictions scored against an annotation file, and the report about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.evaluation.benchmark import Benchmark, Scored, ScoreOptions
from pipeline.evaluation.result import Evaluation
from pipeline.report import report_evaluation
from pipeline.storage import Storage


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
