"""The settings of a training run: one frozen model, filled from command line, YAML file and defaults."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from pipeline.image_gate import ExifRule
from posrefine.build import VARIANTS
from posrefine.errors import ConfigurationError
from posrefine.training.augmentation import Augmentation
from posrefine.training.recipe import TrainRecipe
from posrefine.training.targets import TargetSpec

__all__ = [
    *("FIRST_VALIDATION_SEED", "TRAINING_GROUPS"),
    *("TrainSettings", "load_train_settings", "training_command"),
]

FIRST_VALIDATION_SEED = 9_000_000
"""Of the rendered scenes that are validated on: far from those of training and from the low seeds that
evaluations are made with."""


def _split_sizes(value: object) -> object:
    if not isinstance(value, str):
        return value
    parts = [part.rpartition(":") for part in value.split(",")]
    return [(float(start or 0), int(side)) for start, _, side in parts]


def _split_commas(value: object) -> object:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


_Sizes = Annotated[tuple[tuple[float, int], ...], BeforeValidator(_split_sizes)]
_Floats = Annotated[tuple[float, ...], BeforeValidator(_split_commas)]
_Pair = Annotated[tuple[float, float], BeforeValidator(_split_commas)]


class _Data(BaseModel):
    """Data."""

    config: Path | None = Field(None, description="YAML file of settings; names as here, with underscores")
    output: str = Field(
        description="folder or bucket prefix of this training; running again there resumes it"
    )
    images: str | None = Field(None, description="folder of images or of tar shards to learn from")
    annotations: str | None = Field(None, description="COCO or CrowdPose annotation file of the images")
    synthetic: int | None = Field(None, ge=1, description="learn from this many rendered scenes instead")
    synthetic_seed: int = Field(
        10_000_000, ge=0, description="of the first scene; other seeds are other scenes"
    )
    scene_cache: Path | None = Field(
        None, description="folder on every machine where scenes are kept once rendered"
    )
    val_images: str | None = Field(None, description="held-out images; none: validation is left out")
    val_annotations: str | None = Field(None, description="annotation file of the held-out images")
    val_count: int = Field(500, ge=1, description="held-out images, or scenes, to validate on")
    exif: ExifRule = Field("ignore", description="EXIF orientation; COCO's annotations ignore it")


class _Start(BaseModel):
    """Network."""

    model: str = Field("dekr_w32", description="name of the network")
    skeleton: Literal["coco", "crowdpose"] = Field("coco", description="joint convention of the annotations")
    weights: str | None = Field(
        None,
        description="weights file (path or URI) or zoo name to start from; none: a network drawn at random",
    )
    licence: str = Field("unstated", description="of the trained weights, for the model card")
    protocol: Literal["official", "posrefine"] = Field(
        "official",
        description="how the weights are to be tested; posrefine draws joints to the heat around them and "
        "trusts test scales by a person's size",
    )


class _Recipe(BaseModel):
    """Recipe."""

    epochs: int = Field(140, ge=1, description="times that every image is seen")
    batch_size: int = Field(10, ge=1, description="images of one step, over all workers")
    input_sizes: _Sizes | None = Field(
        None,
        description="side of the views, px; or sizes over the run, such as 0:256,0.8:512; the model's own",
    )
    learning_rate: float = Field(1e-3, gt=0, description="highest learning rate")
    schedule: Literal["steps", "cosine"] = Field("steps", description="how the rate falls")
    milestones: _Floats = Field(
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
    seed: int = Field(0, ge=0, description="of the first weights, data order and augmentation")


class _Views(BaseModel):
    """Views and targets."""

    max_rotation_deg: float = Field(30.0, ge=0, description="rotation of the views, each way")
    scale_range: _Pair = Field((0.75, 1.5), description="side of the views in short sides of the image")
    max_translation: float = Field(40.0, ge=0, description="of the views, in 200ths of their side")
    flip_probability: float = Field(0.5, ge=0, le=1, description="of mirrored views")
    person_probability: float = Field(
        0.0, ge=0, le=1, description="of views around a person, not around the image's middle"
    )
    person_size_range: _Pair = Field(
        (128.0, 512.0), description="diagonal of that person's box in the view, px"
    )
    joint_sigma: float = Field(2.0, gt=0, description="of the joints' Gaussians, heatmap cells")
    centre_sigma: float = Field(4.0, gt=0, description="of the centres' Gaussians, heatmap cells")
    offset_radius: int = Field(4, ge=1, description="of the squares that learn offsets, heatmap cells")
    min_area: float = Field(
        1024.0, ge=0, description="persons with a smaller segment get no centre, square px"
    )


class _Cluster(BaseModel):
    """Cluster."""

    workers: int | None = Field(None, ge=1, description="training processes; one for every GPU, or one")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where to train; auto: GPUs if there are"
    )
    worker_cpus: float = Field(1.0, gt=0, description="CPUs of one training process")
    max_failures: int = Field(3, ge=0, description="times that the run starts again from its last checkpoint")
    checkpoint_steps: int = Field(500, ge=1, description="steps between durable checkpoints")
    validation_steps: int = Field(5000, ge=1, description="steps between validations")
    log_steps: int = Field(20, ge=1, description="steps between rows of the log")


_WITHOUT_EFFECT = {"config", "output", "scene_cache", "max_failures", "checkpoint_steps", "log_steps"}
"""Settings that change nothing about the weights."""

# Each docstring is the heading of its settings in --help.
TRAINING_GROUPS: tuple[type[BaseModel], ...] = (_Data, _Start, _Recipe, _Views, _Cluster)


class TrainSettings(_Cluster, _Views, _Recipe, _Start, _Data):
    """Everything a training is told, made by `load_train_settings`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.images is None) == (self.synthetic is None):
            raise ValueError("give either --images with --annotations, or --synthetic")
        if self._meets_validation():
            raise ValueError(
                f"--synthetic-seed {self.synthetic_seed}: scenes {FIRST_VALIDATION_SEED} to "
                f"{FIRST_VALIDATION_SEED + self.val_count - 1} are for validation; start outside of them"
            )
        if (self.images is None) != (self.annotations is None):
            raise ValueError("--images and --annotations belong together")
        if (self.val_images is None) != (self.val_annotations is None):
            raise ValueError("--val-images and --val-annotations belong together")
        if self.model not in VARIANTS:
            raise ValueError(f"no network is called {self.model!r}; choose one of {', '.join(VARIANTS)}")
        return self

    def _meets_validation(self) -> bool:
        if self.synthetic is None or self.val_images is not None:
            return False
        end, validation_end = self.synthetic_seed + self.synthetic, FIRST_VALIDATION_SEED + self.val_count
        return self.synthetic_seed < validation_end and end > FIRST_VALIDATION_SEED

    @property
    def input_size(self) -> int:
        """Side of the views at the end of the run, px."""
        return self.input_sizes[-1][1] if self.input_sizes else VARIANTS[self.model].input_size

    def validation_size(self, view_px: int) -> int:
        """Short side of whole images in validation, px, for a network that has learnt on views of `view_px`.

        A network knows persons of the sizes it has met. Views of whole images show them as large as images of
        the view's size do; views around persons are cut for the size the network is meant for.
        """
        return VARIANTS[self.model].input_size if self.person_probability > 0 else view_px

    def recipe(self, images: int) -> TrainRecipe:
        """The recipe for a source of so many images."""
        shared = TrainRecipe.__dataclass_fields__.keys() & TrainSettings.model_fields.keys()
        return TrainRecipe(
            total_steps=max(1, self.epochs * images // self.batch_size),
            input_sizes_px=self.input_sizes or ((0.0, self.input_size),),
            **{name: getattr(self, name) for name in shared},
        )

    def augmentation(self) -> Augmentation:
        """The ranges of the views."""
        return Augmentation(
            self.input_size,
            self.max_rotation_deg,
            self.scale_range,
            self.max_translation,
            self.flip_probability,
            self.person_probability,
            self.person_size_range,
        )

    def targets(self) -> TargetSpec:
        """The sizes of the targets."""
        return TargetSpec(
            joint_sigma_cells=self.joint_sigma,
            centre_sigma_cells=self.centre_sigma,
            offset_radius_cells=self.offset_radius,
            min_area_px2=self.min_area,
        )


def load_train_settings(command_line: Mapping[str, Any]) -> TrainSettings:
    """The settings; precedence: `command_line` > the YAML file it names > defaults.

    Raises:
        ConfigurationError: unknown or missing settings, or values that will not do, all of them listed.
    """
    try:
        return TrainSettings(**(_yaml(command_line.get("config")) | dict(command_line)))
    except ValidationError as error:
        problems = error.errors(include_url=False)
        raise ConfigurationError("\n".join(_readable(dict(problem)) for problem in problems)) from None


def _yaml(path: str | Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"settings file {path}: cannot be read ({error.strerror}); correct --config"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"settings file {path}: no YAML ({error})") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"settings file {path}: wanted a mapping of names to values")
    return content


def _readable(problem: dict[str, Any]) -> str:
    name = ".".join(map(str, problem["loc"])) or "together"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"setting {name}: {message}"


def training_command(settings: TrainSettings) -> str:
    """The command that gives the same weights again, whatever file or default the settings came from."""
    fields = type(settings).model_fields
    options = ["--output", "OUTPUT"]
    for name, value in settings:
        if name not in _WITHOUT_EFFECT and value != fields[name].default:
            options += [f"--{name.replace('_', '-')}", _text(value)]
    return shlex.join(["python", "jobs/train.py", *options])


def _text(value: object) -> str:
    """As the command line takes it."""
    if not isinstance(value, tuple):
        return str(value)
    return ",".join(":".join(map(str, part)) if isinstance(part, tuple) else str(part) for part in value)
