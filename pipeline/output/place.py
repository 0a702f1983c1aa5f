"""An output in its store."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.output.layout import OutputTree
from pipeline.storage import Storage

__all__ = ["Place"]


@dataclass(frozen=True)
class Place:
    """Where something of an output lies.

    Attributes:
        storage: how to reach it.
        tree: where everything lies.
    """

    storage: Storage
    tree: OutputTree
