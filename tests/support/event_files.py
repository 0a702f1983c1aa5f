"""What TensorBoard itself shows of a training's event files."""

from __future__ import annotations

from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    """Steps and values of a curve, read from all files of a folder, as TensorBoard orders and purges them."""
    board = EventAccumulator(str(folder))
    board.Reload()
    return [(event.step, event.value) for event in board.Scalars(tag)]
