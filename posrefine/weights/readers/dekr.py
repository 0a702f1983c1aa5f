"""The official DEKR repository's checkpoints, and our own: their names are this network's names."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from posrefine.weights.readers.reading import Reading, misshapen

__all__ = ["is_dekr", "is_rescore", "read_dekr", "read_rescore", "with_ours", "without_wrapper"]

# `module.` is data parallelism's; `1.` comes from a half-precision wrapper that ran the network second.
_WRAPPERS = ("module.", "1.")
_RESCORE_NAMES = {f"{layer}.{leaf}" for layer in ("l1", "l2", "l3") for leaf in ("weight", "bias")}
_OURS = {"size.weight": 1, "spread.weight": 3}


def without_wrapper(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors with the prefix of a training wrapper, which all names then share, taken off."""
    plain = dict(tensors)
    while plain:
        prefix = next((p for p in _WRAPPERS if all(name.startswith(p) for name in plain)), None)
        if prefix is None:
            break
        plain = {name.removeprefix(prefix): tensor for name, tensor in plain.items()}
    return plain


def is_dekr(names: set[str]) -> bool:
    """Whether a whole network under DEKR's names is among `names`."""
    return {"conv1.weight", "head_heatmap.1.weight", "offset_final_layer.0.weight"} <= names


def read_dekr(tensors: Mapping[str, Tensor]) -> Reading:
    """DEKR's names are ours: nothing to convert."""
    return Reading(format="dekr", protocol="official", tensors=tensors)


def is_rescore(names: set[str]) -> bool:
    """Whether `names` are those of a bare rescoring network, DEKR's or ours."""
    return names - _OURS.keys() == _RESCORE_NAMES


def read_rescore(tensors: Mapping[str, Tensor], file: str) -> Reading:
    """A rescoring network whose first layer reads limbs in DEKR's order, as ours does."""
    return Reading(format="rescore", protocol="official", tensors=with_ours(tensors, file))


def with_ours(tensors: Mapping[str, Tensor], file: str) -> Mapping[str, Tensor]:
    """The tensors of a rescoring network; size and spread count for nothing where it was trained without.

    Raises:
        WeightsError: `l1.weight` is no matrix; `file` is its checkpoint.
    """
    first = tensors["l1.weight"]
    if first.ndim != 2:
        raise misshapen(file, "l1.weight", first, "a matrix of two dimensions")
    zeros = {name: torch.zeros(len(first), width) for name, width in _OURS.items()}
    return zeros | dict(tensors)
