"""Weights in and out: our own safetensors, readers for the checkpoints of DEKR, mmpose and HRNet, the zoo."""

from importlib import import_module
from typing import TYPE_CHECKING

from posrefine.weights.zoo import ZOO, ZooEntry, zoo_table

if TYPE_CHECKING:
    from posrefine.weights.info import WeightsInfo
    from posrefine.weights.load import load_weights, load_weights_bytes, save_weights

__all__ = [
    "ZOO",
    "WeightsInfo",
    "ZooEntry",
    "load_weights",
    "load_weights_bytes",
    "save_weights",
    "zoo_table",
]

# Listing the zoo needs no Torch.
_LAZY = {
    "WeightsInfo": "posrefine.weights.info",
    "load_weights": "posrefine.weights.load",
    "load_weights_bytes": "posrefine.weights.load",
    "save_weights": "posrefine.weights.load",
}


def __getattr__(name: str) -> object:
    """The names that need Torch, imported when they are first asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
