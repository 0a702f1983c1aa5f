"""One state-dict entry per joint for tensors that are stacked over the joints in memory.

DEKR gives each joint its own modules (`offset_feature_layers.3.0.adapt_conv.weight`). Computing joint by
joint is slow, so our modules hold one tensor for all joints; state dicts keep DEKR's names, in both
directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["JointTensor", "use_joint_names"]

StateDict = dict[str, Any]


@dataclass(frozen=True)
class JointTensor:
    """A tensor of the module and the entries it becomes.

    Attributes:
        stacked: its name in the module. Its first dimension is joint-major.
        parts: entries per joint in the order of their rows: name with `{joint}` in it, and rows per joint.
            A tensor without dimensions (a counter) has one part, and every joint gets its value.
    """

    stacked: str
    parts: tuple[tuple[str, int], ...]

    def names(self, joints: int) -> list[str]:
        """Entry names, joint by joint."""
        return [name.format(joint=joint) for joint in range(joints) for name, _ in self.parts]

    def split(self, tensor: Tensor, joints: int) -> Sequence[Tensor]:
        """One tensor per entry: views, except of counters."""
        if tensor.dim() == 0:
            return [tensor.clone() for _ in range(joints)]
        rows = [rows for _ in range(joints) for _, rows in self.parts]
        return torch.split(tensor, rows)

    def stack(self, tensors: Sequence[Tensor]) -> Tensor:
        """The inverse of `split`."""
        return tensors[0] if tensors[0].dim() == 0 else torch.cat(list(tensors))


def use_joint_names(
    module: nn.Module, joints: int, tensors: Sequence[JointTensor], constants: dict[str, Tensor] | None = None
) -> None:
    """Makes `module` save and load its stacked tensors under one name per joint.

    Args:
        module: the module that the names in `tensors` are relative to.
        joints: K.
        tensors: what to translate; tensors not named keep their names.
        constants: further entries, by name with `{joint}` in it, written for every joint; when read they must
            be the same.
    """
    names = _JointNames(
        joints,
        tuple(tensors),
        {
            name.format(joint=joint): value
            for joint in range(joints)
            for name, value in (constants or {}).items()
        },
    )
    # Hooks that can be pickled, and so the network: no functions made here.
    module.register_state_dict_post_hook(partial(_save, names))  # type: ignore[no-untyped-call]
    module.register_load_state_dict_pre_hook(partial(_load, names))  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class _JointNames:
    joints: int
    tensors: tuple[JointTensor, ...]
    fixed: dict[str, Tensor]


def _save(names: _JointNames, module: nn.Module, state: StateDict, prefix: str, metadata: StateDict) -> None:
    for entry in names.tensors:
        parts = entry.split(state.pop(prefix + entry.stacked), names.joints)
        own = entry.names(names.joints)
        state.update((prefix + name, part) for name, part in zip(own, parts, strict=True))
    state.update((prefix + name, value.clone()) for name, value in names.fixed.items())


def _load(
    names: _JointNames,
    module: nn.Module,
    state: StateDict,
    prefix: str,
    metadata: StateDict,
    strict: bool,
    missing: list[str],
    unexpected: list[str],
    errors: list[str],
) -> None:
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for entry in names.tensors:
        wanted = [prefix + name for name in entry.names(names.joints)]
        parts = entry.split(own[entry.stacked].detach(), names.joints)
        taken = [_take(state, name, part, missing, errors) for name, part in zip(wanted, parts, strict=True)]
        state[prefix + entry.stacked] = entry.stack(taken)
    for name, value in names.fixed.items():
        found = _take(state, prefix + name, value, missing, errors)
        if not torch.equal(found.to(value), value):
            errors.append(f"{prefix + name} is {found.tolist()}, must be {value.tolist()}")


def _take(state: StateDict, name: str, current: Tensor, missing: list[str], errors: list[str]) -> Tensor:
    """Removes and returns an entry; if it is absent or of another shape, notes that and returns `current`."""
    if name not in state:
        missing.append(name)
        return current
    found: Tensor = state.pop(name)
    if found.shape != current.shape:
        errors.append(
            f"size mismatch for {name}: the checkpoint has {list(found.shape)}, wanted {list(current.shape)}"
        )
        return current
    return found
