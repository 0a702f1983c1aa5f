"""2D multi-person pose estimation: networks, weights, inference, metrics and training, in Torch and NumPy."""

from importlib import import_module
from typing import TYPE_CHECKING

from posrefine import errors
from posrefine.skeletons import COCO, CROWDPOSE, Skeleton

if TYPE_CHECKING:
    from posrefine.build import VARIANTS, build_model
    from posrefine.inference.poses import Poses
    from posrefine.inference.predictor import Predictor
    from posrefine.weights import WeightsInfo, load_weights, save_weights

__all__ = [
    "COCO",
    "CROWDPOSE",
    "VARIANTS",
    "Poses",
    "Predictor",
    "Skeleton",
    "WeightsInfo",
    "build_model",
    "errors",
    "load_weights",
    "save_weights",
]

# Importing Torch takes seconds and some 200 MB. Workers that decode or evaluate never need it.
_NEEDS_TORCH = {
    "VARIANTS": "posrefine.build",
    "build_model": "posrefine.build",
    "Poses": "posrefine.inference.poses",
    "Predictor": "posrefine.inference.predictor",
    "WeightsInfo": "posrefine.weights",
    "load_weights": "posrefine.weights",
    "save_weights": "posrefine.weights",
}


def __getattr__(name: str) -> object:
    """The names that need Torch, imported when they are first asked for."""
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_NEEDS_TORCH[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
