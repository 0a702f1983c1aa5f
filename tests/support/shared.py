"""Finds the optional reference data: `../shared` beside the repository, or where the environment says."""

from __future__ import annotations

import importlib.util
import os
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

from posrefine.modeling.score_net import ScoreNet
from posrefine.skeletons import Skeleton

_REPOSITORY = Path(__file__).resolve().parents[2]
_ENVIRONMENT_VARIABLE = "POSREFINE_TEST_SHARED"

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def shared_path(*parts: str) -> Path:
    """Path inside the reference folder; skips the running test where it is absent."""
    root = Path(os.environ.get(_ENVIRONMENT_VARIABLE) or _REPOSITORY.parent / "shared")
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs the reference data {path} (set {_ENVIRONMENT_VARIABLE} to where `shared` lies)")
    return path


def load_golden(name: str) -> dict[str, NDArray[np.generic]]:
    """The arrays of `shared/golden/<name>.npz`."""
    with np.load(shared_path("golden", f"{name}.npz"), allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def stand_in_fill(module: AnyModule, prefix: str = "") -> AnyModule:
    """Fills `module` in place with the deterministic stand-in weights, and returns it.

    The weights are functions of the tensors' full names, so `prefix` says what the module is called in its
    parent: the rescoring network of the golden files is `rescore`.
    """
    if not prefix:
        _stand_in_weights().fill(module)
        return module
    parent = nn.Module()
    parent.add_module(prefix, module)
    _stand_in_weights().fill(parent)
    return module


def stand_in_score_net(skeleton: Skeleton) -> ScoreNet:
    """The rescoring network of the golden files, which is DEKR's and knows neither sizes nor spreads."""
    network = stand_in_fill(ScoreNet(skeleton), "rescore").eval()
    nn.init.zeros_(network.size.weight)
    nn.init.zeros_(network.spread.weight)
    return network


@cache
def _stand_in_weights() -> ModuleType:
    path = shared_path("golden", "stand_in_weights.py")
    spec = importlib.util.spec_from_file_location("stand_in_weights", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
