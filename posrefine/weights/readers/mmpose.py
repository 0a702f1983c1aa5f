"""mmpose v1 (`DEKRHead`) checkpoints: the same network, stored joint-concatenated and with other conventions.

Differences that conversion settles:
- mmpose adds the displacement to a pixel, DEKR subtracts the offset: the last layer changes sign.
- mmpose's deformable sampling is p + r + M r + t, ours p + A r + t, so A = M + I, which the biases carry.
- mmpose keeps the joints of one layer in one grouped convolution, DEKR in one module a joint.
- the rescoring network reads its limbs in another order, some of them from the other end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from posrefine.errors import WeightsError
from posrefine.skeletons import COCO, CROWDPOSE, Skeleton
from posrefine.weights.readers.dekr import with_size
from posrefine.weights.readers.reading import Part, Reading

__all__ = ["is_mmpose", "read_mmpose", "read_mmpose_rescore"]

_BACKBONE = "backbone."
_HEATMAP = "head.heatmap_conv_layers."
_DISPLACEMENT = "head.displacement_conv_layers."
_RESCORE = "head.rescore_net."
_ROWS_PER_JOINT = 6
_MATRIX_ROWS = [0, 1, 3, 4]  # of [a00 - 1, a01, t0, a10, a11 - 1, t1]
_TRANSLATION_ROWS = [2, 5]
_IDENTITY = (1.0, 0.0, 0.0, 1.0)

# `skeleton_info` of mmpose's data set descriptions, as joint indices.
_SCORE_LIMBS = {
    COCO.name: (
        (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8),
        (7, 9), (8, 10), (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
    ),
    CROWDPOSE.name: (
        (10, 8), (8, 6), (11, 9), (9, 7), (6, 7), (0, 6), (1, 7), (0, 1), (0, 2), (1, 3),
        (2, 4), (3, 5), (12, 13), (1, 13), (0, 13),
    ),
}  # fmt: skip


def is_mmpose(names: set[str]) -> bool:
    """Whether `names` hold mmpose v1's DEKR head."""
    return _DISPLACEMENT + "3.weight" in names


def read_mmpose(tensors: Mapping[str, Tensor], part: Part) -> Reading:
    """Convert the pose network, or the rescoring network that mmpose keeps in the same file."""
    if part is Part.SCORE:
        inner = {
            name.removeprefix(_RESCORE): value for name, value in tensors.items() if name.startswith(_RESCORE)
        }
        reading = read_mmpose_rescore(inner)
        others = tuple(name for name in tensors if not name.startswith(_RESCORE))
        return Reading("mmpose", "mmpose", reading.tensors, not_used=others)
    joints = tensors[_DISPLACEMENT + "3.weight"].shape[0] // 2
    converted: dict[str, Tensor] = {}
    not_used: list[str] = []
    for name, value in tensors.items():
        if name.startswith(("data_preprocessor.", _RESCORE)) or name.endswith("regular_matrix"):
            not_used.append(name)
        else:
            converted.update(_convert(name, value, joints))
    return Reading("mmpose", "mmpose", converted, not_used=tuple(not_used))


def read_mmpose_rescore(tensors: Mapping[str, Tensor]) -> Reading:
    """Convert a bare rescoring network: columns of `l1` go where our features are, with their signs.

    Raises:
        WeightsError: the width of `l1` is neither skeleton's.
    """
    if "l1.weight" not in tensors:
        raise WeightsError(
            "mmpose checkpoint: holds no rescoring network (no tensor `head.rescore_net.l1.weight`)"
        )
    first = tensors["l1.weight"]
    columns, signs = _feature_columns(_skeleton_of_width(first.shape[1]))
    converted = dict(tensors) | {"l1.weight": first[:, columns] * signs.to(first.dtype)}
    return Reading("rescore", "mmpose", with_size(converted))


def _convert(name: str, value: Tensor, joints: int) -> Iterator[tuple[str, Tensor]]:
    if name.startswith(_BACKBONE):
        yield name.removeprefix(_BACKBONE), value
    elif name.startswith(_HEATMAP):
        yield _heatmap_name(name.removeprefix(_HEATMAP)), value
    elif name.startswith(_DISPLACEMENT):
        yield from _convert_displacement(name.removeprefix(_DISPLACEMENT), value, joints)
    else:
        yield name, value


def _heatmap_name(rest: str) -> str:
    layer, _, inner = rest.partition(".")
    if layer == "0":
        return "transition_heatmap." + _conv_module_name(inner)
    return f"head_heatmap.0.0.{inner}" if layer == "1" else f"head_heatmap.1.{inner}"


def _conv_module_name(inner: str) -> str:
    unit, _, leaf = inner.partition(".")
    return {"conv": "0", "bn": "1"}.get(unit, unit) + "." + leaf


def _convert_displacement(rest: str, value: Tensor, joints: int) -> Iterator[tuple[str, Tensor]]:
    layer, _, inner = rest.partition(".")
    if layer == "0":
        yield "transition_offset." + _conv_module_name(inner), value
        return
    for joint, own in enumerate(_per_joint(value, joints)):
        if layer == "3":
            yield f"offset_final_layer.{joint}.{inner}", -own
        else:
            block = f"offset_feature_layers.{joint}.{int(layer) - 1}."
            yield from ((block + leaf, tensor) for leaf, tensor in _convert_adaptive_block(inner, own))


def _per_joint(value: Tensor, joints: int) -> tuple[Tensor, ...]:
    return (value,) * joints if value.ndim == 0 else value.chunk(joints)


def _convert_adaptive_block(inner: str, own: Tensor) -> Iterator[tuple[str, Tensor]]:
    unit, _, leaf = inner.partition(".")
    if unit == "transform_matrix_conv":
        matrix = own[_MATRIX_ROWS]
        yield inner, matrix + matrix.new_tensor(_IDENTITY) if leaf == "bias" else matrix
        yield f"translation_conv.{leaf}", own[_TRANSLATION_ROWS]
    else:
        yield (f"bn.{leaf}" if unit == "norm" else inner), own


def _skeleton_of_width(features: int) -> Skeleton:
    for skeleton in (COCO, CROWDPOSE):
        if features == 3 * len(skeleton.score_limbs) + skeleton.num_joints:
            return skeleton
    raise WeightsError(
        f"rescoring network: `l1.weight` reads {features} features; wanted 74 (COCO) or 59 (CrowdPose)"
    )


def _feature_columns(skeleton: Skeleton) -> tuple[Tensor, Tensor]:
    """For each of our features mmpose's column of it, and -1 where mmpose's limb points the other way.

    Both lay features out as: x, y of every limb; length of every limb; score of every joint.
    """
    theirs = {limb: position for position, limb in enumerate(_SCORE_LIMBS[skeleton.name])}
    limbs = len(theirs)
    positions, signs = [], []
    for first, second in skeleton.score_limbs:
        straight = (first, second) in theirs
        positions.append(theirs[(first, second) if straight else (second, first)])
        signs.append(1.0 if straight else -1.0)
    vectors = [2 * position + axis for position in positions for axis in (0, 1)]
    lengths = [2 * limbs + position for position in positions]
    scores = list(range(3 * limbs, 3 * limbs + skeleton.num_joints))
    vector_signs = [sign for sign in signs for _ in (0, 1)]
    return torch.tensor(vectors + lengths + scores), torch.tensor(
        vector_signs + [1.0] * (len(lengths) + len(scores))
    )
