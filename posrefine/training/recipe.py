"""The numbers of a training run, and the learning rate of every step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from posrefine.errors import ConfigurationError

__all__ = ["TrainRecipe"]

Schedule = Literal["steps", "cosine"]
TrainPrecision = Literal["float32", "bfloat16"]

INPUT_MULTIPLE_PX = 32
"""The network halves its input five times."""


@dataclass(frozen=True)
class TrainRecipe:
    """How to train; the defaults are DEKR's for COCO (Adam, 1e-3, a tenth at 90/140 and 120/140 of the run).

    Attributes:
        total_steps: optimiser steps of the whole run.
        batch_size: images of one step, over all devices.
        learning_rate: the highest one, after the warm-up.
        schedule: `steps` multiplies by 0.1 at each milestone; `cosine` falls smoothly to a hundredth.
        milestones: fractions of the run at which `steps` cuts the rate.
        warmup_steps: steps over which the rate rises linearly from nearly 0.
        weight_decay: decoupled (AdamW), on weights of convolutions only; at 0 the optimiser is Adam.
        gradient_clip_norm: the gradient is scaled down to this norm where it is longer.
        ema_decay: of the running average of the weights, which is what gets evaluated and published.
        precision: of the forward pass; `bfloat16` is autocast, weights and losses stay float32.
        heatmap_factor, offset_factor: weights of the two losses.
        offset_saturation: error in diagonals of the person at which an offset pulls half as hard as a perfect
            one would, because errors count by their logarithm; None is DEKR's loss, where all pull alike.
        input_sizes_px: sides of the square views over the run, as (from this fraction of the run, side)
            pairs; small views first (progressive resizing) teach the coarse things cheaply.
        offset_cells: at how many cells of a view offsets are computed: those around centres, then random
            ones; None is everywhere, as DEKR does. The offset head's norms count these cells alone.
        seed: of augmentation and data order.
        steps_without_persons: a run that has met no labelled person after this many steps stops.
    """

    total_steps: int
    batch_size: int = 10
    learning_rate: float = 1e-3
    schedule: Schedule = "steps"
    milestones: tuple[float, ...] = (90 / 140, 120 / 140)
    warmup_steps: int = 0
    weight_decay: float = 0.0
    gradient_clip_norm: float = 5.0
    ema_decay: float = 0.999
    precision: TrainPrecision = "float32"
    heatmap_factor: float = 1.0
    offset_factor: float = 0.03
    offset_saturation: float | None = None
    input_sizes_px: tuple[tuple[float, int], ...] = ((0.0, 512),)
    offset_cells: int | None = None
    seed: int = 0
    steps_without_persons: int = 50

    def __post_init__(self) -> None:
        for name in (
            *("total_steps", "batch_size", "learning_rate", "gradient_clip_norm"),
            *("offset_cells", "offset_saturation"),
        ):
            if getattr(self, name) is not None and not 0 < getattr(self, name) < math.inf:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: give a number above 0")
        for name in (
            *("warmup_steps", "weight_decay", "heatmap_factor", "offset_factor"),
            *("seed", "steps_without_persons"),
        ):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigurationError(f"{name} is {getattr(self, name)}: give 0 or a number above it")
        for name, allowed in (("schedule", get_args(Schedule)), ("precision", get_args(TrainPrecision))):
            if getattr(self, name) not in allowed:
                raise ConfigurationError(
                    f"{name} is {getattr(self, name)!r}: give one of {', '.join(allowed)}"
                )
        if not 0 <= self.ema_decay < 1:
            raise ConfigurationError(f"ema_decay is {self.ema_decay}: give a number from 0 to below 1")
        if not all(0 <= milestone <= 1 for milestone in self.milestones):
            raise ConfigurationError(f"milestones are {self.milestones}: give fractions of the run, 0 to 1")
        starts = [start for start, _ in self.input_sizes_px]
        if not starts or starts[0] != 0 or starts != sorted(starts) or starts[-1] > 1:
            raise ConfigurationError(
                f"input_sizes_px starts at {starts}: give rising fractions of the run, the first of them 0"
            )
        for _, side_px in self.input_sizes_px:
            if side_px <= 0 or side_px % INPUT_MULTIPLE_PX:
                raise ConfigurationError(f"input size {side_px} px: give a multiple of {INPUT_MULTIPLE_PX}")

    def input_size_at(self, step: int) -> int:
        """Side of the square views of step `step`, input px."""
        progress = step / self.total_steps
        return [side_px for start, side_px in self.input_sizes_px if start <= progress][-1]

    def learning_rate_at(self, step: int) -> float:
        """The rate of step `step` (from 0): a pure function, so a resumed run needs no schedule state."""
        warm = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        return self.learning_rate * warm * self._decay_at(step / self.total_steps)

    def _decay_at(self, progress: float) -> float:
        if self.schedule == "steps":
            return float(0.1 ** sum(progress >= milestone for milestone in self.milestones))
        return 0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * min(progress, 1.0)))
