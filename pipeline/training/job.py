"""The job that every training process is given; validation and writing of its network."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.settings.training import TrainSettings
from pipeline.storage import Storage
from pipeline.storage.uris import join_uri
from posrefine.modeling.network import PoseNetwork
from posrefine.test_protocols import TEST_PROTOCOLS
from posrefine.training.mixture import Mixture
from posrefine.training.pasting import Pasting
from posrefine.training.recipe import TrainRecipe
from posrefine.training.stream import ViewStream
from posrefine.training.validation import ValidationSet
from posrefine.weights import WeightsInfo, save_weights

__all__ = ["RENDERED_NOTE", "TrainingJob"]

RENDERED_NOTE = "these weights have met rendered people alone: rely on none of their poses in photographs"


@dataclass(frozen=True)
class TrainingJob:
    """Everything a training process is given.

    Attributes:
        settings: of the run.
        recipe: the same for every process, also after a restart.
        model: the network with its first weights, on the CPU.
        source: images to learn from.
        data: what they are, in words, for the card.
        pasting: rendered persons for views of photographs, if any.
        validation: images to validate on by their name, if any; the first ones decide which weights are best.
        storage: for the log and the weights.
        start: what is known of the weights that it starts from; None for random ones.
    """

    settings: TrainSettings
    recipe: TrainRecipe
    model: PoseNetwork
    source: Mixture
    data: str
    pasting: Pasting | None
    validation: Mapping[str, ValidationSet]
    storage: Storage
    start: WeightsInfo | None = None

    def stream(self, rank: int, world_size: int) -> ViewStream:
        """The views of one of `world_size` processes."""
        settings = self.settings
        return ViewStream(
            self.source,
            self.model.skeleton,
            self.recipe,
            settings.augmentation(),
            settings.targets(),
            rank,
            world_size,
            settings.photometry(),
            self.pasting,
        )

    def validated(self, model: PoseNetwork, size_px: int) -> dict[str, float]:
        """The numbers of `model` on the held-out images by the settings' protocol; none without images.

        Those of the first set by their names, such as `AP`; those of others after the set's, such as
        `scenes_AP`.
        """
        numbers: dict[str, float] = {}
        for place, (name, held_out) in enumerate(self.validation.items()):
            protocol = TEST_PROTOCOLS[self.settings.protocol]
            metrics = held_out.metrics(model, size_px, protocol=protocol, flip=self.settings.val_flip)
            before = f"{name}_" if place else ""
            numbers |= {f"{before}{key}": value for key, value in metrics.model_dump().items()}
        return numbers

    def write_weights(self, model: PoseNetwork, steps: int, name: str) -> str:
        """Put the weights of `model` after so many steps under `name` below the output; their sha256."""
        settings = self.settings
        metadata = {
            "variant": settings.model,
            "skeleton": settings.skeleton,
            "protocol": settings.protocol,
            "input_size": str(settings.validation_size(settings.input_size)),
            "licence": settings.licence,
            "data": self.data,
            "steps": str(steps),
        }
        if self.note is not None:
            metadata["note"] = self.note
        with tempfile.TemporaryDirectory(prefix="posrefine-weights-") as folder:
            path = Path(folder) / name
            sha256 = save_weights(model, path, metadata, stored_as=getattr(torch, settings.stored_as))
            self.storage.put(join_uri(settings.output, name), path.read_bytes())
        return sha256

    @property
    def note(self) -> str | None:
        """The note of the weights, for their metadata and card; None: nothing is special about them."""
        if self.settings.note is not None:
            return self.settings.note
        if self.settings.images:
            return None
        # What the first weights have met, these have met as well.
        return RENDERED_NOTE if self.start is None else self.start.note
