"""The settings of training the rescoring network."""

from __future__ import annotations

from pydantic import Field

from pipeline.settings.base import Seed, Settings, Skeleton, Texts

__all__ = ["ScoreSettings"]


class _Data(Settings):
    """Data."""

    run: Texts = Field(min_length=1, description="outputs of the annotate job")
    annotations: Texts = Field(
        min_length=1, description="annotation file of all their images, or one for each run"
    )
    output: str = Field(description="safetensors file to write")
    skeleton: Skeleton = Field("coco", description="joint convention of the runs")
    licence: str = Field("unstated", description="of the trained weights")


class _Recipe(Settings):
    """Recipe."""

    epochs: int = Field(20, ge=1, description="times that every pose is seen")
    batch_size: int = Field(1024, ge=1, description="poses of one step")
    learning_rate: float = Field(1e-3, gt=0, description="highest learning rate")
    seed: Seed = Field(0, description="of the first weights and the order of poses")


class ScoreSettings(_Recipe, _Data):
    """Everything that training the rescoring network is told."""
