"""What a run says about itself, for its report."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.output.outcome import Outcome
from pipeline.output.person_count import PersonCount
from pipeline.output.row_summary import FailedImage, RowSummary
from pipeline.output.rows import RunRows
from pipeline.output.run_output import RunOutput
from pipeline.report.standing import DataSet, read_data_set
from posrefine.errors import ImageStatus

__all__ = ["RunFacts", "read_run_facts"]


@dataclass(frozen=True)
class RunFacts:
    """A run in numbers.

    Attributes:
        rows: its files and what they say about themselves.
        images: finished images by status.
        failed: the first failed ones.
        complete: whether every image is in the tables.
        outcome: how the last attempt ended; None where that is not known.
        min_score: from which persons are counted.
        people: persons in all finished images.
        data_set: its generations, where it is one that stands; None of a run.
    """

    rows: RunRows
    images: dict[str, int]
    failed: tuple[FailedImage, ...]
    complete: bool
    outcome: Outcome | None
    min_score: float
    people: PersonCount
    data_set: DataSet | None = None

    @property
    def images_total(self) -> int:
        """Finished images."""
        return sum(self.images.values())

    @property
    def images_failed(self) -> int:
        """Finished images without keypoints."""
        return self.images_total - self.images.get(ImageStatus.OK, 0)


def read_run_facts(output: RunOutput, rows: RunRows, summary: RowSummary, min_score: float) -> RunFacts:
    """Count images and persons; of the run's files none is read. `rows` are those of the whole run."""
    return RunFacts(
        rows=rows,
        images=summary.statuses,
        failed=summary.failed,
        complete=rows.counts is not None,
        # It speaks of the last generation.
        outcome=output.outcome() if output.as_of is None else None,
        min_score=min_score,
        people=PersonCount.of_scores(summary.scores, min_score),
        data_set=read_data_set(output, rows.counts),
    )
