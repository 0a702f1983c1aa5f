"""The settings of a standing data set."""

from __future__ import annotations

from pydantic import Field

from pipeline.settings.base import Settings
from pipeline.settings.run import RunSettings

__all__ = ["SyncSettings"]


class _Sync(Settings):
    """Sync."""

    accept_empty: bool = Field(
        False, description="empty the tables where nothing is left of the input; refused otherwise"
    )
    replace: bool = Field(
        False,
        description="if weights or settings are others than the output's: annotate all of the input beside "
        "it, then let that take its place",
    )


class SyncSettings(_Sync, RunSettings):
    """Those of the run that the first sync is."""
