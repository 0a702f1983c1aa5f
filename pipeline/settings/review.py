"""The settings of the review job."""

from __future__ import annotations

from pydantic import Field

from pipeline.settings.base import Seed, Settings
from pipeline.settings.outputs import AsOf, OutputSettings
from pipeline.settings.review_tasks import LabellingTool

__all__ = [
    "GroundTruthSettings",
    "ImportSettings",
    "ImportsSettings",
    "QueuesSettings",
    "ReviewerAgreementSettings",
    "SelectSettings",
    "UndoSettings",
]


class _Select(Settings):
    """Choice."""

    budget: int = Field(ge=1, description="images that people can look at")
    control_share: float = Field(
        0.1, ge=0, le=1, description="of the budget, drawn at random from all images that did not fail"
    )
    per_folder: int | None = Field(
        None, ge=1, description="images of a folder after which signals choose no more of it; any number"
    )
    against: str | None = Field(
        None,
        description="output of another run over the same images, such as one at other --scales, to compare "
        "persons with",
    )
    seed: Seed = Field(0, description="of the draw, and of the order of equals")
    distributed: bool | None = Field(
        None, description="read the tables in Ray tasks; by default above 500,000 images"
    )
    as_of: AsOf = None


class SelectSettings(_Select, OutputSettings):
    """The settings of `select`."""


class _Queues(Settings):
    """Queues."""

    as_json: bool = Field(False, alias="json", description="for programs: one JSON object a line")


class QueuesSettings(_Queues, OutputSettings):
    """The settings of `queues`."""


class _Import(Settings):
    """Answers."""

    tool: LabellingTool | None = Field(None, description="whose exports they must be; any, told by content")
    reviewer: str | None = Field(None, description="who looked, whatever the files say")
    may_be_empty: bool = Field(
        False, description="let nobody be left in a file whose tasks showed persons: tools err this way"
    )
    unchanged_is_reviewed: bool = Field(
        False, description="take images that came back exactly as given, without a mark, as looked at"
    )


class ImportSettings(_Import, OutputSettings):
    """The settings of `import`."""


class _Undo(Settings):
    """What counts no more."""

    reviewer: str | None = Field(None, description="all imports of this reviewer")
    import_id: str | None = Field(
        None, alias="import", description="one import, by its name or the beginning of it"
    )


class UndoSettings(_Undo, OutputSettings):
    """The settings of `undo`."""


class ImportsSettings(OutputSettings):
    """The settings of `imports`."""


class _Agreement(Settings):
    """Agreement."""

    queue: str | None = Field(
        None, description="id of the queue; the last one of which anything was reviewed"
    )
    draws: int = Field(1000, ge=1, description="resampled sets of the bootstrap, for AP")
    seed: Seed = Field(0, description="of the bootstrap")
    as_json: bool = Field(False, alias="json", description="for programs: one JSON object")


class ReviewerAgreementSettings(_Agreement, OutputSettings):
    """The settings of `agreement`."""


class _GroundTruth(Settings):
    """Ground truth."""

    to: str = Field(description="address of the annotation file, .json")


class GroundTruthSettings(_GroundTruth, OutputSettings):
    """The settings of `ground-truth`."""
