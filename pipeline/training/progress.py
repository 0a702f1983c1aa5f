"""The progress line of a training: steps, speed, loss, time left and the last AP."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import ray
from ray.exceptions import RayError

from pipeline.live_line import Standing

__all__ = ["ProgressBoard", "TrainingStanding", "progress_line"]

_ANSWER_S = 2.0


@dataclass(frozen=True)
class TrainingStanding:
    """Where a training stands, as the last row of its log says.

    Attributes:
        step: finished steps.
        total_steps: of the recipe.
        batch_size: views of one step.
        views_per_s: over the steps since the row before, all processes together.
        loss: of the last step.
        ap: of the last validation; None before the first.
    """

    step: int
    total_steps: int
    batch_size: int
    views_per_s: float
    loss: float
    ap: float | None = None

    @property
    def remaining_s(self) -> float:
        """Seconds to the last step at this speed, validations left out."""
        return (self.total_steps - self.step) * self.batch_size / self.views_per_s


def progress_line(standing: TrainingStanding | None) -> Standing:
    """Share, steps, speed, loss, time left and the last AP in one line; None: no row of the log yet."""
    if standing is None:
        return Standing("training: no step logged yet")
    parts = [
        f"{standing.step:,} of {standing.total_steps:,} steps",
        f"{standing.views_per_s:,.1f} views/s",
        f"loss {standing.loss:.4g}",
        f"{timedelta(seconds=round(standing.remaining_s))} left",
    ]
    if standing.ap is not None:
        parts.append(f"AP {standing.ap:.3f}")
    return Standing(" · ".join(parts), standing.step / standing.total_steps)


class ProgressBoard:
    """Where rank 0 puts the standing and the driver reads it: one Ray actor without a CPU of its own.

    Nobody waits for it: a board that is lost shows the last standing that was read, and training goes on.
    """

    def __init__(self) -> None:
        actor = ray.remote(num_cpus=0, max_restarts=-1)(_Board)
        self._actor: Any = actor.remote()
        self._last: TrainingStanding | None = None

    def put(self, standing: TrainingStanding) -> None:
        """Show this from now on."""
        self._actor.put.remote(standing)

    def line(self) -> Standing:
        """The progress line of the last standing."""
        # A board may be busy or lost; trouble with Ray is told where the training ends by it.
        with suppress(RayError):
            self._last = ray.get(self._actor.latest.remote(), timeout=_ANSWER_S) or self._last
        return progress_line(self._last)


class _Board:
    """The actor's side."""

    def __init__(self) -> None:
        self._standing: TrainingStanding | None = None

    def put(self, standing: TrainingStanding) -> None:
        self._standing = standing

    def latest(self) -> TrainingStanding | None:
        return self._standing
