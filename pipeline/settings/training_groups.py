"""The groups of a training's settings; `TrainSettings` puts them together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from pipeline.images.exif_rule import ExifRule
from pipeline.settings.base import Device, Floats, Seed, Settings, Skeleton, Texts, one_or_more

__all__ = ["ClusterSettings", "DataSettings", "NetworkSettings", "RecipeSettings", "ViewSettings"]


def _split_sizes(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = [part.rpartition(":") for part in value.split(",")]
    return [(float(start or 0), int(side)) for start, _, side in parts]


def _require_rising_above_zero(value: tuple[float, float]) -> tuple[float, float]:
    if not 0 < value[0] <= value[1]:
        raise ValueError("give two numbers above 0, the smaller one first")
    return value


_Sizes = Annotated[tuple[tuple[float, int], ...], BeforeValidator(_split_sizes)]
_Range = Annotated[
    tuple[float, float], BeforeValidator(one_or_more), AfterValidator(_require_rising_above_zero)
]
_Fractions = Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], BeforeValidator(one_or_more)]
_Counts = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(one_or_more)]
_Kinds = Annotated[
    tuple[Literal["train", "all", "easy", "medium", "hard"], ...], BeforeValidator(one_or_more)
]


class DataSettings(Settings):
    """Data."""

    output: str = Field(
        description="folder or bucket prefix of this training; running again there resumes it"
    )
    images: Texts = Field(
        (), description="folder of images or of tar shards to learn from; several: with commas"
    )
    annotations: Texts = Field(
        (), description="COCO or CrowdPose annotation file of the images; one for each of --images"
    )
    image_shares: Floats = Field(
        (), description="share of the views for each of --images; by their numbers of images"
    )
    other_sizes: Literal["refuse", "resize"] = Field(
        "refuse",
        description="pictures that are smaller or larger copies of the annotated ones",
    )
    synthetic: _Counts = Field(
        (), description="learn from this many rendered scenes, too or alone; several sets: with commas"
    )
    scene_kinds: _Kinds = Field(
        ("all",),
        description="crowds of each set of scenes; all: varied, easy, medium and hard in turn",
    )
    synthetic_shares: Floats = Field(
        (), description="share of the views for each of --synthetic; by their numbers of scenes"
    )
    synthetic_seed: Seed = Field(10_000_000, description="of the first scene; other seeds are other scenes")
    scene_cache: Path | None = Field(
        None, description="folder on every machine where scenes are kept once rendered"
    )
    val_images: str | None = Field(None, description="held-out images; none: validation is left out")
    val_annotations: str | None = Field(None, description="annotation file of the held-out images")
    val_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of --images kept apart to validate on, chosen by file name",
    )
    val_names: Path | None = Field(
        None, description="file with names of images, one a line, that are kept apart to validate on"
    )
    val_count: int = Field(500, ge=1, description="held-out images, or scenes, to validate on")
    val_scenes: int | None = Field(
        None, ge=0, description="scenes to validate on where there are photographs, too; --val-count"
    )
    val_flip: bool = Field(False, description="validate with the mirrored image, too")
    exif: ExifRule = Field("ignore", description="EXIF orientation; COCO's annotations ignore it")


class NetworkSettings(Settings):
    """Network."""

    model: str = Field("dekr_w32", description="name of the network")
    skeleton: Skeleton = Field("coco", description="joint convention of the annotations")
    weights: str | None = Field(
        None,
        description="weights file (path or URI) or zoo name to start from; none: a network drawn at random",
    )
    licence: str = Field("unstated", description="of the trained weights, for the model card")
    note: str | None = Field(None, description="what must be known of the trained weights, for file and card")
    protocol: Literal["official", "posrefine"] = Field(
        "official",
        description="how the weights are to be tested; posrefine draws joints to the heat around them and "
        "trusts test scales by a person's size",
    )


class RecipeSettings(Settings):
    """Recipe."""

    epochs: int = Field(140, ge=1, description="times that every image is seen; of several sets on average")
    views: int | None = Field(None, ge=1, description="views of the whole run, instead of --epochs")
    publish: Literal["last", "best"] = Field(
        "last", description="which averaged weights to publish: the last, or those of the best validation"
    )
    batch_size: int = Field(10, ge=1, description="images of one step, over all workers")
    input_sizes: _Sizes | None = Field(
        None,
        description="side of the views, px; or sizes over the run, such as 0:256,0.8:512; the model's own",
    )
    learning_rate: float = Field(1e-3, gt=0, description="highest learning rate")
    schedule: Literal["steps", "cosine"] = Field("steps", description="how the rate falls")
    milestones: _Fractions = Field(
        (90 / 140, 120 / 140), description="fractions of the run where `steps` divides the rate by 10"
    )
    warmup_steps: int = Field(0, ge=0, description="steps over which the rate rises")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay")
    gradient_clip_norm: float = Field(5.0, gt=0, description="longest gradient")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="of the average of the weights")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="arithmetic of the network")
    stored_as: Literal["float32", "float16"] = Field(
        "float32", description="convolutions in the published file; float16 halves it"
    )
    offset_factor: float = Field(0.03, gt=0, description="weight of the offset loss")
    offset_saturation: float | None = Field(
        None, gt=0, description="error, in diagonals of a person, from which offsets pull less; none do"
    )
    offset_cells: int | None = Field(
        None, ge=1, description="cells of a view where offsets are computed, those around persons first; all"
    )
    seed: Seed = Field(0, description="of the first weights, data order and augmentation")


class ViewSettings(Settings):
    """Views and targets."""

    max_rotation_deg: float = Field(30.0, ge=0, description="rotation of the views, each way")
    scale_range: _Range = Field((0.75, 1.5), description="side of the views in short sides of the image")
    max_translation: float = Field(40.0, ge=0, description="of the views, in 200ths of their side")
    flip_probability: float = Field(0.5, ge=0, le=1, description="of mirrored views")
    person_probability: float = Field(
        0.0, ge=0, le=1, description="of views around a person, not around the image's middle"
    )
    person_size_range: _Range = Field(
        (128.0, 512.0), description="diagonal of that person's box in the view, px"
    )
    largest_cut_out: float | None = Field(
        None, gt=0, description="largest side of views around a person, in short sides of the image; any"
    )
    colour: float = Field(
        0.0, ge=0, le=1, description="strength of random brightness, contrast, saturation, hue, gamma, grey"
    )
    degrade: float = Field(
        0.0, ge=0, le=1, description="probability of each of: blur or low resolution, noise, traces of JPEG"
    )
    paste: float = Field(
        0.0, ge=0, le=1, description="share of photographs' views with a rendered person pasted in"
    )
    joint_sigma: float = Field(2.0, gt=0, description="of the joints' Gaussians, heatmap cells")
    centre_sigma: float = Field(4.0, gt=0, description="of the centres' Gaussians, heatmap cells")
    offset_radius: int = Field(4, ge=1, description="of the squares that learn offsets, heatmap cells")
    min_area: float = Field(
        1024.0, ge=0, description="persons with a smaller segment get no centre, square px"
    )


class ClusterSettings(Settings):
    """Cluster."""

    workers: int | None = Field(None, ge=1, description="training processes; one for every GPU, or one")
    device: Device = Field("auto", description="where to train; auto: GPUs if there are")
    worker_cpus: float = Field(1.0, gt=0, description="CPUs of one training process")
    max_failures: int = Field(3, ge=0, description="times that the run starts again from its last checkpoint")
    checkpoint_steps: int = Field(500, ge=1, description="steps between durable checkpoints")
    validation_steps: int = Field(5000, ge=1, description="steps between validations")
    log_steps: int = Field(20, ge=1, description="steps between rows of the log")
