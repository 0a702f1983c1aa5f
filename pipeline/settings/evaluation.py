"""The settings of evaluation: scoring predictions, and packing them for COCO's server."""

from __future__ import annotations

from pydantic import Field

from pipeline.settings.base import Seed, Settings, Skeleton
from pipeline.settings.outputs import AsOf, Source

__all__ = ["EvaluationSettings", "OutputAgreementSettings", "SubmissionSettings"]


class _Places(Settings):
    """Input and output."""

    predictions: str = Field(description="output of a run, or a COCO results file (.json)")
    annotations: str = Field(description="annotation file in COCO's form; of test-dev: its image_info file")
    output: str = Field(description="folder or bucket prefix for what is written")
    strict: bool = Field(False, description="let any warning about the input be an error")


class _Score(Settings):
    """Scoring."""

    protocol: Skeleton = Field(description="whose rules and joints")
    compare: str | None = Field(
        None, description="predictions to compare with: differences, with significance"
    )
    model: str | None = Field(None, description="network that made a results file, for the published figures")
    train_overlap: str | None = Field(
        None,
        description="annotations of the training set, or a JSON list of image ids: warn of images in both",
    )
    numbers_only: bool = Field(False, description="no intervals, breakdowns, error kinds and calibration")
    draws: int = Field(1000, ge=1, description="resampled sets of the bootstrap")
    seed: Seed = Field(0, description="of the bootstrap")
    distributed: bool | None = Field(None, description="match in Ray tasks; by default above 100,000 images")
    as_of: AsOf = None
    source: Source = "corrected"
    results: bool = Field(True, description="write a run's results.json")
    report: bool = Field(False, description="write report/index.html too (needs the extra `report`)")
    pushgateway: str | None = Field(
        None, description="Prometheus Pushgateway that gets the headline numbers, too"
    )


class EvaluationSettings(_Score, _Places):
    """The settings of `score`."""


class _Submission(Settings):
    """Submission."""

    name: str = Field(description="of the algorithm, as the server shall show it")


class SubmissionSettings(_Submission, _Places):
    """The settings of `test-dev`."""


class _Agreement(Settings):
    """Agreement."""

    a: str = Field(description="output of a run or a sync")
    b: str = Field(description="another output of the same images")
    output: str = Field(description="folder or bucket prefix for what is written")
    min_score: float | None = Field(None, description="persons from this score on; each output's own")
    least_oks: float = Field(0.5, gt=0, le=1, description="from which two persons are the same")
    report: bool = Field(
        False, description="write report/index.html with a gallery too (needs the extra `report`)"
    )


class OutputAgreementSettings(_Agreement):
    """The settings of `agree`."""
