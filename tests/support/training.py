"""Small pieces of a training run that is quick on a CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from support.labelled import labelled_image

from posrefine.build import build_model
from posrefine.skeletons import COCO
from posrefine.training.augmentation import Augmentation
from posrefine.training.loop import Trainer
from posrefine.training.recipe import TrainRecipe
from posrefine.training.samples import LabelledImage
from posrefine.training.stream import ViewStream
from posrefine.training.targets import TargetSpec


class NoisePeople:
    """Images of noise, each with one person somewhere."""

    def __init__(self, count: int, persons: int = 1) -> None:
        self._count, self._persons = count, persons

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, position: int) -> LabelledImage:
        rng = np.random.default_rng(position)
        points = np.concatenate(
            [rng.uniform(20, 76, (self._persons, 17, 2)), np.full((self._persons, 17, 1), 2)], 2
        )
        pixels = rng.integers(0, 256, (96, 96, 3), np.uint8)
        return replace(labelled_image(points, size_px=(96, 96)), pixels=pixels)


def small_recipe(**changes: object) -> TrainRecipe:
    defaults: dict[str, object] = {"total_steps": 4, "batch_size": 2, "input_sizes_px": ((0.0, 64),)}
    return TrainRecipe(**(defaults | changes))


def small_stream(recipe: TrainRecipe, persons: int = 1, **changes: object) -> ViewStream:
    return ViewStream(NoisePeople(5, persons), COCO, recipe, Augmentation(), TargetSpec(), **changes)


def small_trainer(recipe: TrainRecipe, seed: int = 0) -> Trainer:
    torch.manual_seed(seed)
    return Trainer(build_model("posrefine_tiny"), recipe, torch.device("cpu"))
