"""Whole numbers as the records of an output have them: what is counted fits 64 bits."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

__all__ = ["Count", "Ordinal"]

Count = Annotated[int, Field(ge=0, lt=2**63)]
"""Of things; never less than none."""

Ordinal = Annotated[int, Field(ge=1, lt=2**63)]
"""From one on."""
