"""Put a reading into a module, or say which tensor does not fit.

All is checked before anything is copied, so that a network is filled wholly or left as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from posrefine.errors import WeightsError
from posrefine.modeling.residual import Gain
from posrefine.skeletons import SKELETONS
from posrefine.weights.plain import shown_name
from posrefine.weights.readers.reading import Reading
from posrefine.weights.values import as_in_module

__all__ = ["Fit", "fit"]

_NAMES_SHOWN = 6
_HEADS = ("head_", "offset_", "transition_heatmap.", "transition_offset.")
_REFINEMENT = "refine."
_JOINTS_AT = "head_heatmap.1.weight"
_WIDTH_AT = "transition1.0.0.weight"
# May be absent: old files lack the counters, which only a cumulative average would read, and the regular grid
# is a constant.
_REGULAR_MATRIX = ".regular_matrix"
_CONSTANTS = (".num_batches_tracked", _REGULAR_MATRIX)


@dataclass(frozen=True)
class Fit:
    """What loading left over: the module's tensors that stay as built, and the file's that have no place."""

    not_in_file: tuple[str, ...]
    not_used: tuple[str, ...]


def fit(module: nn.Module, reading: Reading, name: str, *, strict: bool) -> Fit:
    """Copy the tensors of `reading` into `module`, all of them or none.

    Where the file is a DEKR network and the module a PosRefine one, the gains of the refinement modules
    become 0: they are then the identity, and the network computes what DEKR computes.

    Args:
        module: a pose network or a rescoring network.
        reading: plain tensors by the module's names.
        name: what to call the file in messages.
        strict: refuse a file that lacks tensors it should hold, or holds unknown ones.

    Raises:
        WeightsError: a tensor does not fit (the first one is named), cannot be used or becomes infinite in
            the module's number format, or names differ.
    """
    own = module.state_dict()
    _check_shapes(own, reading.tensors, name)
    missing = [key for key in own if key not in reading.tensors]
    unexpected = [key for key in reading.tensors if key not in own and not key.endswith(_CONSTANTS)]
    if strict:
        _check_names([key for key in missing if not _may_lack(key, reading)], unexpected, name)
    found = {
        key: as_in_module(key, reading.tensors[key], own[key], name) for key in own if key not in missing
    }
    _check_grids(own, found, name)
    if not reading.backbone_only and not _holds_refinement(reading):
        found |= _closed_gains(module)
    module.load_state_dict(own | found)
    return Fit(tuple(missing), (*reading.not_used, *unexpected))


def _may_lack(key: str, reading: Reading) -> bool:
    if key.startswith(_REFINEMENT) and not _holds_refinement(reading):
        return True
    return key.endswith(_CONSTANTS) or (reading.backbone_only and key.startswith(_HEADS))


def _holds_refinement(reading: Reading) -> bool:
    return any(key.startswith(_REFINEMENT) for key in reading.tensors)


def _closed_gains(module: nn.Module) -> dict[str, Tensor]:
    return {
        f"{name}.weight": torch.zeros_like(part.weight)
        for name, part in module.named_modules()
        if isinstance(part, Gain)
    }


def _check_shapes(own: Mapping[str, Tensor], found: Mapping[str, Tensor], name: str) -> None:
    for key, wanted in own.items():
        if key in found and found[key].shape != wanted.shape:
            raise WeightsError(
                f"weights {name}: tensor {key} has shape {list(found[key].shape)}, the network wants "
                f"{list(wanted.shape)}; {_advice(own, found)}"
            )


def _advice(own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    if _other_length(_WIDTH_AT, own, found):
        width = found[_WIDTH_AT].shape[0]
        return f"this checkpoint is of HRNet width {width}: build the w{width} variant"
    if _other_length(_JOINTS_AT, own, found):
        joints = found[_JOINTS_AT].shape[0] - 1
        known = next((s.name.upper() for s in SKELETONS.values() if s.num_joints == joints), None)
        return f"this checkpoint holds {joints} joints: build with " + (
            f"skeleton={known}" if known else f"a skeleton of {joints} joints"
        )
    return "build the variant and skeleton that the checkpoint was trained for"


def _other_length(key: str, own: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> bool:
    """Whether a tensor is of the right kind, but for more or fewer channels."""
    if key not in own or key not in found or own[key].ndim != found[key].ndim:
        return False
    return own[key].shape[0] != found[key].shape[0]


def _check_names(missing: list[str], unexpected: list[str], name: str) -> None:
    kinds = ((missing, "missing"), (unexpected, "unknown"))
    parts = [f"{len(names)} {what} ({_short(names)})" for names, what in kinds if names]
    if parts:
        raise WeightsError(
            f"weights {name}: tensors do not match the network's: {'; '.join(parts)}; "
            "name the variant the file was made for, or load with strict=False to keep what fits"
        )


def _short(names: list[str]) -> str:
    return ", ".join(map(shown_name, names[:_NAMES_SHOWN])) + (", ..." if len(names) > _NAMES_SHOWN else "")


def _check_grids(own: Mapping[str, Tensor], found: Mapping[str, Tensor], name: str) -> None:
    for key, value in found.items():
        if key.endswith(_REGULAR_MATRIX) and not torch.equal(value, own[key]):
            raise WeightsError(
                f"weights {name}: tensor {key} is {value.tolist()}, wanted {own[key].tolist()}; "
                "a network trained with another sampling grid cannot be used here"
            )
