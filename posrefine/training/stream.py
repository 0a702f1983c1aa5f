"""Batches as a pure function of the step: which images, in which views, in which order.

A run that stops at step s and goes on later, with any number of processes preparing, sees the batches of one
that never stopped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from posrefine.skeletons import Skeleton
from posrefine.training.augmentation import Augmentation, apply_view
from posrefine.training.recipe import TrainRecipe
from posrefine.training.samples import Batch, LabelledImage
from posrefine.training.targets import TargetSpec, make_batch

__all__ = ["Source", "ViewStream"]

ORDER_STREAM, VIEW_STREAM = 0, 1
"""Keep the random numbers of the data order and of the views apart."""


class Source(Protocol):
    """Labelled images by position; the same position always gives the same image."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int) -> LabelledImage: ...


@dataclass(frozen=True)
class ViewStream:
    """The batches of a run; item s is this process's share of step s.

    Every epoch goes through the source once, in an order of its own.

    Attributes:
        source: where the images come from.
        skeleton: of the source's keypoints.
        recipe: gives seed, batch size and input size.
        augmentation: gives the ranges of the views; its input size is replaced by the recipe's.
        targets: sizes of the targets.
        rank, world_size: this process and how many train together.
    """

    source: Source
    skeleton: Skeleton
    recipe: TrainRecipe
    augmentation: Augmentation
    targets: TargetSpec
    rank: int = 0
    world_size: int = 1

    def __getitem__(self, step: int) -> Batch:
        """This process's images of step `step`, augmented, with targets."""
        return make_batch(self.views(step), self.targets)

    def views(self, step: int) -> list[LabelledImage]:
        """This process's images of step `step`, augmented, in input px."""
        augmentation = replace(self.augmentation, input_size_px=self.recipe.input_size_at(step))
        places = range(self.rank, self.recipe.batch_size, self.world_size)
        return [self._view(step, place, augmentation) for place in places]

    def _view(self, step: int, place: int, augmentation: Augmentation) -> LabelledImage:
        epoch, position = divmod(step * self.recipe.batch_size + place, len(self.source))
        order = _epoch_order(self.recipe.seed, epoch, len(self.source))
        labelled = self.source[int(order[position])]
        rng = np.random.default_rng([self.recipe.seed, VIEW_STREAM, step, place])
        view = augmentation.draw(rng, labelled)
        return apply_view(labelled, view, self.skeleton)


@lru_cache(maxsize=2)
def _epoch_order(seed: int, epoch: int, count: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, ORDER_STREAM, epoch]).permutation(count)
