"""The settings of a training run: what must hold between them, and what they make of a run."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Self

from pydantic import model_validator

from pipeline.settings.training_groups import (
    ClusterSettings,
    DataSettings,
    NetworkSettings,
    RecipeSettings,
    ViewSettings,
)

if TYPE_CHECKING:
    from posrefine.modeling.network import Variant
    from posrefine.training.augmentation import Augmentation
    from posrefine.training.photometry import Photometry
    from posrefine.training.recipe import TrainRecipe
    from posrefine.training.targets import TargetSpec

__all__ = ["FIRST_VALIDATION_SEED", "MAY_CHANGE", "TrainSettings", "training_command"]

FIRST_VALIDATION_SEED = 9_000_000
"""Of the rendered scenes that are validated on: far from those of training and from the low seeds that
evaluations are made with."""

_WITHOUT_EFFECT = {"config", "output", "scene_cache", "max_failures", "checkpoint_steps", "log_steps"}
"""Settings that change nothing about the weights."""

MAY_CHANGE = frozenset(
    _WITHOUT_EFFECT | {"workers", "device", "worker_cpus"} | {"publish", "stored_as", "licence", "note"}
)
"""Settings that a training may be resumed with others of: where it computes, and how its end is published."""


class TrainSettings(ClusterSettings, ViewSettings, RecipeSettings, NetworkSettings, DataSettings):
    """Everything a training is told."""

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if not self.images and not self.annotations and not self.synthetic:
            raise ValueError("give --images with --annotations, or --synthetic, or both")
        if self._meets_validation():
            raise ValueError(
                f"--synthetic-seed {self.synthetic_seed}: scenes {FIRST_VALIDATION_SEED} to "
                f"{FIRST_VALIDATION_SEED + self.validation_scenes - 1} are for validation; start outside of "
                "them"
            )
        if len(self.images) != len(self.annotations):
            raise ValueError(
                f"--images and --annotations belong together: {len(self.images)} and "
                f"{len(self.annotations)} given"
            )
        self._check_shares()
        if (self.val_images is None) != (self.val_annotations is None):
            raise ValueError("--val-images and --val-annotations belong together")
        if self.model not in _variants():
            raise ValueError(f"no network is called {self.model!r}; choose one of {', '.join(_variants())}")
        return self

    def _check_shares(self) -> None:
        for sources, shares in (("images", "image_shares"), ("synthetic", "synthetic_shares")):
            count, given = len(getattr(self, sources)), getattr(self, shares)
            if given and (len(given) != count or min(given) <= 0):
                raise ValueError(
                    f"--{shares.replace('_', '-')} {','.join(f'{share:g}' for share in given)}: give one "
                    f"number above 0 for each of the {count} --{sources}"
                )
        if self.images and self.synthetic and bool(self.image_shares) != bool(self.synthetic_shares):
            raise ValueError("--image-shares and --synthetic-shares belong together")
        if len(self.scene_kinds) not in (1, max(1, len(self.synthetic))):
            raise ValueError(f"--scene-kinds: give one, or one for each of the {len(self.synthetic)} sets")
        if self.paste > 0 and not (self.images and self.synthetic):
            raise ValueError("--paste puts persons of --synthetic into --images: give both")
        apart = self.val_share > 0 or self.val_names is not None
        if apart and (not self.images or self.val_images is not None):
            raise ValueError(
                "--val-share and --val-names keep a part of --images apart; they go without --val-images"
            )

    @property
    def validation_scenes(self) -> int:
        """Rendered scenes to validate on."""
        if not self.synthetic:
            return 0
        photographs = self.val_images is not None or self.val_share > 0 or self.val_names is not None
        return self.val_count if self.val_scenes is None or not photographs else self.val_scenes

    def _meets_validation(self) -> bool:
        if not self.validation_scenes:
            return False
        end = self.synthetic_seed + sum(self.synthetic)
        validation_end = FIRST_VALIDATION_SEED + self.validation_scenes
        return self.synthetic_seed < validation_end and end > FIRST_VALIDATION_SEED

    @property
    def input_size(self) -> int:
        """Side of the views at the end of the run, px."""
        return self.input_sizes[-1][1] if self.input_sizes else _variants()[self.model].input_size

    def validation_size(self, view_px: int) -> int:
        """Short side of whole images in validation, px, for a network that has learnt on views of `view_px`.

        A network knows persons of the sizes it has met. Views of whole images show them as large as images of
        the view's size do; views around persons are cut for the size the network is meant for.
        """
        return _variants()[self.model].input_size if self.person_probability > 0 else view_px

    def recipe(self, images: int) -> TrainRecipe:
        """The recipe for a source of so many images."""
        from posrefine.training.recipe import TrainRecipe

        shared = TrainRecipe.__dataclass_fields__.keys() & TrainSettings.model_fields.keys()
        return TrainRecipe(
            total_steps=max(1, (self.views or self.epochs * images) // self.batch_size),
            input_sizes_px=self.input_sizes or ((0.0, self.input_size),),
            **{name: getattr(self, name) for name in shared},
        )

    def augmentation(self) -> Augmentation:
        """The ranges of the views."""
        from posrefine.training.augmentation import Augmentation

        return Augmentation(
            self.input_size,
            self.max_rotation_deg,
            self.scale_range,
            self.max_translation,
            self.flip_probability,
            self.person_probability,
            self.person_size_range,
            self.largest_cut_out,
        )

    def photometry(self) -> Photometry:
        """Random changes of the views' colours and sharpness."""
        from posrefine.training.photometry import Photometry

        return Photometry(self.colour, self.degrade)

    def targets(self) -> TargetSpec:
        """The sizes of the targets."""
        from posrefine.training.targets import TargetSpec

        return TargetSpec(
            joint_sigma_cells=self.joint_sigma,
            centre_sigma_cells=self.centre_sigma,
            offset_radius_cells=self.offset_radius,
            min_area_px2=self.min_area,
        )


def _variants() -> dict[str, Variant]:
    """The networks by name. They need Torch, which `--help` does without."""
    from posrefine.build import VARIANTS

    return VARIANTS


def training_command(settings: TrainSettings) -> str:
    """The command that gives the same weights again, whatever file or default the settings came from."""
    fields = type(settings).model_fields
    options = ["--output", "OUTPUT"]
    for name, value in settings:
        option = name.replace("_", "-")
        if name in _WITHOUT_EFFECT or value == fields[name].default:
            continue
        if isinstance(value, bool):
            options.append(f"--{option}" if value else f"--no-{option}")
        else:
            options += [f"--{option}", _text(value)]
    return shlex.join(["python", "jobs/train.py", *options])


def _text(value: object) -> str:
    """As the command line takes it."""
    if not isinstance(value, tuple):
        return str(value)
    return ",".join(":".join(map(str, part)) if isinstance(part, tuple) else str(part) for part in value)
