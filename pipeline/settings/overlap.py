"""The settings of the search for images that a test set shares with a training set."""

from __future__ import annotations

from pydantic import Field

from pipeline.settings.base import Settings, Skeleton

__all__ = ["OverlapSettings"]


class _Sets(Settings):
    """Data sets."""

    annotations: str = Field(description="of the test set, in COCO's form")
    protocol: Skeleton = Field(description="whose joints the test set has")
    training: str = Field(description="annotations of the training set, COCO's or CrowdPose's")
    output: str = Field(description="JSON file for the list")


class OverlapSettings(_Sets):
    """Everything that the search is told."""
