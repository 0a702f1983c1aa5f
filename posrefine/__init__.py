"""2D multi-person pose estimation: networks, weights, inference, metrics and training, in Torch and NumPy."""

from posrefine import errors
from posrefine.build import VARIANTS, build_model
from posrefine.inference.poses import Poses
from posrefine.inference.predictor import Predictor
from posrefine.skeletons import COCO, CROWDPOSE, Skeleton
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
