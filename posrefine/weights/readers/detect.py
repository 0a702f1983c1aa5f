"""Tell a checkpoint's format from its tensor names, and read it."""

from __future__ import annotations

from posrefine.errors import WeightsError
from posrefine.weights.checkpoint import Checkpoint
from posrefine.weights.plain import shown_name
from posrefine.weights.readers.dekr import is_dekr, is_rescore, read_dekr, read_rescore, without_wrapper
from posrefine.weights.readers.imagenet import is_imagenet, read_imagenet
from posrefine.weights.readers.mmpose import is_mmpose, read_mmpose, read_mmpose_rescore
from posrefine.weights.readers.reading import Part, Reading

__all__ = ["read_as"]

_NAMES_SHOWN = 8


def read_as(part: Part, checkpoint: Checkpoint, *, mmpose_limbs: bool = False) -> Reading:
    """Bring a checkpoint's tensors under our names.

    Args:
        part: the module that is to be filled.
        checkpoint: the file.
        mmpose_limbs: a bare rescoring network is mmpose's; neither names nor shapes would tell.

    Raises:
        WeightsError: no reader knows the names, or the file does not hold `part`.
    """
    tensors = without_wrapper(checkpoint.tensors)
    names = set(tensors)
    if is_mmpose(names):
        return read_mmpose(tensors, part, checkpoint.name)
    if part is Part.SCORE and is_rescore(names):
        read = read_mmpose_rescore if mmpose_limbs else read_rescore
        return read(tensors, checkpoint.name)
    if part is Part.POSE and is_dekr(names):
        return read_dekr(tensors)
    if part is Part.POSE and is_imagenet(names):
        return read_imagenet(tensors)
    raise WeightsError(_unknown(part, checkpoint.name, names))


def _unknown(part: Part, file: str, names: set[str]) -> str:
    wanted = {
        Part.POSE: "DEKR's or mmpose v1's names, or an ImageNet HRNet's",
        Part.SCORE: "l1, l2, l3 with weight and bias, or an mmpose v1 checkpoint with head.rescore_net",
    }[part]
    if part is Part.POSE and is_rescore(names):
        return f"weights {file}: is a rescoring network; load it into a ScoreNet, and a pose network here"
    if part is Part.SCORE and (is_dekr(names) or is_imagenet(names)):
        return f"weights {file}: is a pose network; load it with build_model's, and a rescoring network here"
    shown = ", ".join(map(shown_name, sorted(names)[:_NAMES_SHOWN]))
    return f"weights {file}: {len(names)} tensors of no known format, beginning with {shown}; wanted {wanted}"
