"""Batches as a pure function of the step: which images, in which views, in which order.

A run that stops at step s and goes on later, with any number of processes preparing, sees the batches of one
that never stopped.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from posrefine.skeletons import Skeleton
from posrefine.training.augmentation import Augmentation, apply_view
from posrefine.training.mixture import Mixture, Source
from posrefine.training.pasting import Pasting
from posrefine.training.photometry import Photometry
from posrefine.training.recipe import TrainRecipe
from posrefine.training.samples import Batch, LabelledImage
from posrefine.training.targets import TargetSpec, make_batch

__all__ = ["ViewStream"]

VIEW_STREAM, PIXEL_STREAM, PASTE_STREAM = 1, 2, 3
"""Keep the random numbers of views, colours and pasted persons apart, and from those of the data order, 0."""


@dataclass(frozen=True)
class ViewStream:
    """The batches of a run; item s is this process's share of step s.

    Every epoch goes through a source once, in an order of its own.

    Attributes:
        source: where the images come from; a mixture of several draws from each by its share.
        skeleton: of the source's keypoints.
        recipe: gives seed, batch size and input size.
        augmentation: gives the ranges of the views; its input size is replaced by the recipe's.
        targets: sizes of the targets.
        rank, world_size: this process and how many train together.
        photometry: what happens to the views' colours.
        pasting: puts rendered persons into views of images without masks; None: nobody.
    """

    source: Source | Mixture
    skeleton: Skeleton
    recipe: TrainRecipe
    augmentation: Augmentation
    targets: TargetSpec
    rank: int = 0
    world_size: int = 1
    photometry: Photometry = field(default_factory=Photometry)
    pasting: Pasting | None = None

    def __getitem__(self, step: int) -> Batch:
        """This process's images of step `step`, augmented, with targets."""
        return make_batch(self.views(step), self.targets)

    def views(self, step: int) -> list[LabelledImage]:
        """This process's images of step `step`, augmented, in input px."""
        augmentation = replace(self.augmentation, input_size_px=self.recipe.input_size_at(step))
        places = range(self.rank, self.recipe.batch_size, self.world_size)
        return [self._view(step, place, augmentation) for place in places]

    def _view(self, step: int, place: int, augmentation: Augmentation) -> LabelledImage:
        seed = self.recipe.seed
        mixture = self.source if isinstance(self.source, Mixture) else Mixture.of(self.source)
        source, position = mixture.draw(seed, step * self.recipe.batch_size + place)
        labelled = source[position]
        view = augmentation.draw(np.random.default_rng([seed, VIEW_STREAM, step, place]), labelled)
        seen = apply_view(labelled, view, self.skeleton)
        if self.pasting is not None and labelled.instances is None:
            rng = np.random.default_rng([seed, PASTE_STREAM, step, place])
            seen = self.pasting.apply(seen, self.skeleton, rng)
        rng = np.random.default_rng([seed, PIXEL_STREAM, step, place])
        return replace(seen, pixels=self.photometry.apply(seen.pixels, rng))
