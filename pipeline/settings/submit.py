"""The settings of submitting a command to a standing cluster."""

from __future__ import annotations

from pydantic import Field

from pipeline.settings.base import Settings

__all__ = ["SubmitSettings"]


class _RayJob(Settings):
    """Ray job."""

    name: str = Field(min_length=1, description="of the Ray job; tries are numbered from 1 on")
    address: str | None = Field(
        None, description="URL of the cluster's dashboard, http://HEAD:8265; that of RAY_ADDRESS"
    )


class SubmitSettings(_RayJob):
    """Everything that submitting is told but the command."""
