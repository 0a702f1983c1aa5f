"""2D multi-person pose estimation: networks, weights, inference, metrics and training, in Torch and NumPy."""

from posrefine.build import VARIANTS, build_model
from posrefine.skeletons import COCO, CROWDPOSE, Skeleton

__all__ = ["COCO", "CROWDPOSE", "VARIANTS", "Skeleton", "build_model"]
