"""What a job says about its work, and in which form."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pipeline.settings.base import Settings

__all__ = ["LogSettings"]


class LogSettings(Settings):
    """Log."""

    log_format: Literal["text", "json"] = Field("text", description="of log lines and errors")
    verbose: bool = Field(False, description="say more")
