"""HRNet trained to classify ImageNet: the trunk is taken, the classifier is left out by name."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from posrefine.weights.readers.reading import Reading

__all__ = ["is_imagenet", "read_imagenet"]

# The authors' names of the classifying part, and `head.`, under which mmpose's copies file all of it.
_CLASSIFIER = ("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.", "head.")


def is_imagenet(names: set[str]) -> bool:
    """Whether `names` hold HRNet's trunk and none of DEKR's heads."""
    trunk = "conv1.weight" in names and any(name.startswith("stage4.") for name in names)
    return trunk and not any(name.startswith(("head_", "offset_", "transition_")) for name in names)


def read_imagenet(tensors: Mapping[str, Tensor]) -> Reading:
    """Keep the trunk, whose names are ours."""
    skipped = tuple(name for name in tensors if name.startswith(_CLASSIFIER))
    trunk = {name: tensor for name, tensor in tensors.items() if not name.startswith(_CLASSIFIER)}
    return Reading(
        format="imagenet", protocol="official", tensors=trunk, not_used=skipped, backbone_only=True
    )
