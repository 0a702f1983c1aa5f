"""Training checkpoints on a local disk: written whole or not at all, read without running code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch

from posrefine.errors import TrainingError

__all__ = ["load_checkpoint", "save_checkpoint"]


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write `state` so that `path` holds either the old checkpoint or the new one, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state saved at `path`, on the CPU.

    Raises:
        TrainingError: the file is not a whole checkpoint of this project, or would run code when read.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise TrainingError(
            f"{path}: not a whole training checkpoint ({error}): delete it to start over"
        ) from error
    if not isinstance(state, dict) or "optimizer" not in state:
        raise TrainingError(f"{path}: not a training checkpoint: expected one written by the train job")
    return state
