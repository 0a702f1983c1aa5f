"""The settings of review's way to the tools that people work with."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.settings.base import Seed, Settings, Texts
from pipeline.settings.outputs import OutputSettings

__all__ = ["LabellingTool", "TasksSettings"]

LabellingTool = Literal["cvat", "label-studio", "fiftyone", "coco"]


class _Tasks(Settings):
    """Tasks."""

    queue: str | None = Field(None, description="whose images; the last one, as `queues` lists them")
    tool: LabellingTool = Field(description="that the files are for; docs/review.md says what each keeps")
    to: str = Field(description="folder or bucket prefix for the files")
    min_score: float | None = Field(
        None, description="persons below this score are no pre-labels; the run's own"
    )
    min_keypoint_score: float | None = Field(
        None, description="joints below this score are shown as not labelled"
    )
    image_root: str | None = Field(None, description="where the tool finds the images")


class _People(Settings):
    """People."""

    reviewers: Texts = Field((), description="names; each gets a file with a share of the images")
    overlap: float = Field(0.0, ge=0, le=1, description="share of the images that two reviewers get")
    seed: Seed = Field(0, description="another one makes other shares")


class TasksSettings(_People, _Tasks, OutputSettings):
    """The settings of `export`."""
