"""The settings of packing."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from pipeline.settings.base import LARGEST_NUMBER, Seed, Settings, Skeleton

__all__ = ["ANNOTATION_IDS_PER_SCENE", "PackSettings"]

ANNOTATION_IDS_PER_SCENE = 100
"""Ids of a scene's persons count from so many times its image's id."""


def _split_range(value: object) -> object:
    """`3` and `1-5` to a pair."""
    if isinstance(value, int):
        return value, value
    if not isinstance(value, str):
        return value
    low, separator, high = value.partition("-")
    return low, high if separator else low


_Range = Annotated[tuple[int, int], BeforeValidator(_split_range)]


class _Shards(Settings):
    """Shards."""

    output: str = Field(description="folder or bucket prefix; gets shards/*.tar and annotations.json")
    shard_images: int = Field(256, ge=1, description="images in a shard")


class _Source(Settings):
    """What to pack: scenes, or images with their annotations."""

    synthetic: int | None = Field(None, ge=1, description="render this many scenes")
    images: str | None = Field(None, description="folder that --annotations names files of")
    annotations: str | None = Field(None, description="COCO or CrowdPose annotation file of --images")


class _Scenes(Settings):
    """Scenes."""

    seed: Seed = Field(0, description="of the first scene")
    scenes: Literal["all", "easy", "hard", "medium", "train"] = Field("all", description="how crowded")
    people: _Range | None = Field(None, description="persons in a scene: a number, or LOW-HIGH")
    skeleton: Skeleton = Field("coco", description="joint convention of the scenes' annotations")


class PackSettings(_Scenes, _Source, _Shards):
    """Everything that packing is told."""

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.images is None) != (self.annotations is None):
            raise ValueError("--images and --annotations belong together")
        if (self.images is None) == (self.synthetic is None):
            raise ValueError("give either --images with --annotations, or --synthetic")
        return self

    @model_validator(mode="after")
    def _has_ids_for_all_persons(self) -> Self:
        scenes = self.synthetic or 0
        highest = LARGEST_NUMBER // ANNOTATION_IDS_PER_SCENE - scenes - 1
        if scenes and self.seed > highest:
            raise ValueError(
                f"--seed {self.seed}: the ids of persons in {scenes} scenes from there on would be above "
                f"{LARGEST_NUMBER}; give {highest} at most"
            )
        return self
