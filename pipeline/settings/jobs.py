"""The settings of all jobs."""

from __future__ import annotations

from pipeline.settings.base import Settings
from pipeline.settings.evaluation import EvaluationSettings, OutputAgreementSettings, SubmissionSettings
from pipeline.settings.log import LogSettings
from pipeline.settings.outputs import (
    ExportSettings,
    FinalizeSettings,
    ReplaySettings,
    RetrySettings,
    StatusSettings,
)
from pipeline.settings.overlap import OverlapSettings
from pipeline.settings.packing import PackSettings
from pipeline.settings.review import (
    ImportSettings,
    QueuesSettings,
    ReviewerAgreementSettings,
    SelectSettings,
    UndoSettings,
)
from pipeline.settings.review_tasks import TasksSettings
from pipeline.settings.run import EstimateSettings
from pipeline.settings.submit import SubmitSettings
from pipeline.settings.sync import SyncSettings
from pipeline.settings.train_score import ScoreSettings
from pipeline.settings.training import TrainSettings

__all__ = ["ALL_SETTINGS"]

ALL_SETTINGS: tuple[type[Settings], ...] = (
    *(EstimateSettings, SyncSettings, StatusSettings, FinalizeSettings),
    *(RetrySettings, ReplaySettings, ExportSettings),
    *(EvaluationSettings, SubmissionSettings, OutputAgreementSettings),
    *(QueuesSettings, SelectSettings, TasksSettings, ImportSettings, UndoSettings, ReviewerAgreementSettings),
    *(TrainSettings, ScoreSettings, PackSettings, OverlapSettings, SubmitSettings, LogSettings),
)
"""What jobs read from the environment: a variable of one job is no mistake when another one runs."""
