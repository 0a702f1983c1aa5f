"""2D multi-person pose estimation: networks, weights, inference, metrics and training, in Torch and NumPy."""

from importlib import import_module
from typing import TYPE_CHECKING

from posrefine import errors
from posrefine.skeletons import COCO, CROWDPOSE, Skeleton

if TYPE_CHECKING:
    from posrefine.build import VARIANTS, build_model
    from posrefine.inference.predictor import Predictor
    from posrefine.loading import load
    from posrefine.poses import Pose, Poses
    from posrefine.weights import WeightsInfo, load_weights, save_weights

__version__ = "0.2.0"

__all__ = [
    "COCO",
    "CROWDPOSE",
    "VARIANTS",
    "Pose",
    "Poses",
    "Predictor",
    "Skeleton",
    "WeightsInfo",
    "build_model",
    "errors",
    "load",
    "load_weights",
    "save_weights",
]

# Importing Torch takes seconds and some 200 MB. Who decodes, evaluates or lists never needs it.
_LAZY = {
    "VARIANTS": "posrefine.build",
    "build_model": "posrefine.build",
    "Pose": "posrefine.poses",
    "Poses": "posrefine.poses",
    "Predictor": "posrefine.inference.predictor",
    "WeightsInfo": "posrefine.weights",
    "load": "posrefine.loading",
    "load_weights": "posrefine.weights",
    "save_weights": "posrefine.weights",
}


def __getattr__(name: str) -> object:
    """The names that need Torch or NumPy, imported when they are first asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
