"""Data of a training and of its validation: photographs and rendered scenes by its settings."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.settings.training import FIRST_VALIDATION_SEED, TrainSettings
from pipeline.storage import Storage
from pipeline.training.labelled_images import Frames, LabelledImages
from posrefine.errors import ConfigurationError
from posrefine.skeletons import SKELETONS
from posrefine.synthetic import SCENE_KINDS
from posrefine.training.mixture import Mixture, Part, Source
from posrefine.training.pasting import Pasting
from posrefine.training.synthetic_source import SyntheticSource
from posrefine.training.validation import ValidationSet

__all__ = ["TrainingData", "open_data"]


@dataclass(frozen=True)
class TrainingData:
    """The images of a training.

    Attributes:
        source: images of the training views.
        words: what that is, in words.
        pasting: rendered persons for views of photographs, if any.
        validation: what it is validated on, by name: `photographs`, `scenes`, or both, or nothing.
        contents: plain values that tell whether another time the same data are found.
    """

    source: Mixture
    words: str
    pasting: Pasting | None
    validation: Mapping[str, ValidationSet]
    contents: Mapping[str, Any]


def open_data(settings: TrainSettings, storage: Storage) -> TrainingData:
    """Find all images of a training.

    Raises:
        ConfigurationError: an annotation file or a list of names cannot be used.
        TrainingError: a set of images has no labelled person.
        StorageError: the store could not be reached.
    """
    names = _names_apart(settings)
    photographs, apart = _photographs(settings, names, storage)
    scenes = _scenes(settings)
    sources: list[Source] = [*photographs, *scenes]
    shares = [*settings.image_shares, *settings.synthetic_shares] or [float(len(each)) for each in sources]
    parts = [Part(source, share) for source, share in zip(sources, shares, strict=True)]
    pasting = None
    if settings.paste > 0:
        pasting = Pasting(scenes[0], settings.paste, settings.person_size_range, settings.max_rotation_deg)
    held_out = _held_out(settings, storage)
    validation = _validation(settings, held_out, apart)
    contents = {
        "images_of_sources": [len(source) for source in sources],
        "images_validated": {name: len(images.images) for name, images in validation.items()},
        "annotations_sha256": [images.annotations_sha256 for images in photographs],
        "val_annotations_sha256": None if held_out is None else held_out.annotations_sha256,
        "val_names_sha256": hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest() if names else None,
    }
    return TrainingData(Mixture(tuple(parts)), _words(settings, photographs), pasting, validation, contents)


def _photographs(
    settings: TrainSettings, names: frozenset[str], storage: Storage
) -> tuple[list[LabelledImages], list[LabelledImages]]:
    """The sets to learn from, and what is kept apart of each."""
    learnt, apart = [], []
    for images, labels in zip(settings.images, settings.annotations, strict=True):
        opened = LabelledImages.open(
            images, labels, SKELETONS[settings.skeleton], storage, exif=settings.exif,
            resize=settings.other_sizes == "resize",
        )  # fmt: skip
        rest, held_out = opened.parted(settings.val_share, names)
        if len(rest) == 0:
            raise ConfigurationError(
                f"{images}: all of its {len(opened)} images are kept apart to validate on: lower --val-share "
                "or shorten --val-names"
            )
        learnt.append(rest)
        apart.append(held_out)
    if names and not any(len(held_out) for held_out in apart):
        raise ConfigurationError(
            f"--val-names {settings.val_names}: none of its {len(names)} names is that of an image"
        )
    return learnt, apart


def _names_apart(settings: TrainSettings) -> frozenset[str]:
    if settings.val_names is None:
        return frozenset()
    try:
        lines = settings.val_names.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"--val-names {settings.val_names}: cannot be read ({error}); wanted a text of file names, one a "
            "line"
        ) from error
    return frozenset(line.strip() for line in lines if line.strip())


def _scenes(settings: TrainSettings) -> list[SyntheticSource]:
    """The sets of rendered scenes, their seeds one after the other."""
    kinds = settings.scene_kinds * (len(settings.synthetic) if len(settings.scene_kinds) == 1 else 1)
    sources, first_seed = [], settings.synthetic_seed
    for count, kind in zip(settings.synthetic, kinds, strict=False):
        skeleton = SKELETONS[settings.skeleton]
        sources.append(SyntheticSource(skeleton, SCENE_KINDS[kind], count, first_seed, settings.scene_cache))
        first_seed += count
    return sources


def _held_out(settings: TrainSettings, storage: Storage) -> LabelledImages | None:
    """The images that are given to validate on."""
    if settings.val_images is None or settings.val_annotations is None:
        return None
    return LabelledImages.open(
        settings.val_images, settings.val_annotations, SKELETONS[settings.skeleton], storage,
        exif=settings.exif, limit=settings.val_count, only_with_persons=False,
        resize=settings.other_sizes == "resize",
    )  # fmt: skip


def _validation(
    settings: TrainSettings, held_out: LabelledImages | None, apart: Sequence[LabelledImages]
) -> dict[str, ValidationSet]:
    skeleton, sets = SKELETONS[settings.skeleton], {}
    if held_out is not None:
        sets["photographs"] = ValidationSet.of(Frames(held_out), held_out.annotation_file(), skeleton)
    # Persons with other joints than the network's cannot be scored.
    scorable = [images for images in apart if images.joints is None and len(images)]
    if scorable:
        held_out = LabelledImages.joined(scorable, settings.val_count)
        sets["photographs"] = ValidationSet.of(Frames(held_out), held_out.annotation_file(), skeleton)
    if settings.validation_scenes:
        count = settings.validation_scenes
        sets["scenes"] = ValidationSet.rendered(count, FIRST_VALIDATION_SEED, skeleton)
    return sets


def _words(settings: TrainSettings, photographs: Sequence[LabelledImages]) -> str:
    shares = [*settings.image_shares, *settings.synthetic_shares]
    words = [
        f"{len(images)} images of {where}, labelled by {labels}"
        for images, where, labels in zip(photographs, settings.images, settings.annotations, strict=True)
    ]
    words += [f"{count} rendered scenes" for count in settings.synthetic]
    if shares:
        total = sum(shares)
        words = [f"{text} ({share / total:.0%})" for text, share in zip(words, shares, strict=True)]
    return "; ".join(words)
