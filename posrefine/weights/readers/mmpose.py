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
from posrefine.weights.plain import shown_name
from posrefine.weights.readers.dekr import with_ours
from posrefine.weights.readers.reading import Part, Reading, misshapen

__all__ = ["is_mmpose", "read_mmpose", "read_mmpose_rescore"]

_BACKBONE = "backbone."
_HEATMAP = "head.heatmap_conv_layers."
_DISPLACEMENT = "head.displacement_conv_layers."
_RESCORE = "head.rescore_net."
_LAST_LAYER = _DISPLACEMENT + "3.weight"
_ADAPTIVE_BLOCKS = {"1": 0, "2": 1}
_CONV_MODULE = {"conv": "0", "bn": "1"}
_ROWS_OF_OFFSET, _ROWS_OF_AFFINE = 2, 6
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
    return _LAST_LAYER in names


def read_mmpose(tensors: Mapping[str, Tensor], part: Part, file: str) -> Reading:
    """Convert the pose network, or the rescoring network that mmpose keeps in the same file.

    Names that mmpose does not have are handed on as they are, for the fit to name or to leave out.

    Raises:
        WeightsError: a tensor has a shape that cannot be converted, or two would become the same one; `file`
            is their checkpoint.
    """
    if part is Part.SCORE:
        inner = {
            name.removeprefix(_RESCORE): value for name, value in tensors.items() if name.startswith(_RESCORE)
        }
        reading = read_mmpose_rescore(inner, file)
        others = tuple(name for name in tensors if not name.startswith(_RESCORE))
        return Reading("mmpose", "mmpose", reading.tensors, not_used=others)
    joints = _joints(tensors[_LAST_LAYER], file)
    converted: dict[str, Tensor] = {}
    not_used: list[str] = []
    for name, value in tensors.items():
        if name.startswith(("data_preprocessor.", _RESCORE)) or name.endswith("regular_matrix"):
            not_used.append(name)
            continue
        for key, tensor in _convert(name, value, joints, file):
            if key in converted:
                raise WeightsError(
                    f"weights {file}: tensor {shown_name(name)} becomes {shown_name(key)}, which another one "
                    "is already; wanted mmpose's names alone: save the network's own state dict"
                )
            converted[key] = tensor
    return Reading("mmpose", "mmpose", converted, not_used=tuple(not_used))


def read_mmpose_rescore(tensors: Mapping[str, Tensor], file: str) -> Reading:
    """Convert a bare rescoring network: columns of `l1` go where our features are, with their signs.

    Raises:
        WeightsError: there is no `l1`, or its width is neither skeleton's; `file` is the checkpoint.
    """
    if "l1.weight" not in tensors:
        raise WeightsError(
            f"weights {file}: holds no rescoring network (no tensor `{_RESCORE}l1.weight`); name a rescoring "
            "network's own file, such as mmpose:rescore_coco"
        )
    sized = dict(with_ours(tensors, file))
    first = sized["l1.weight"]
    columns, signs = _feature_columns(_skeleton_of(first, file))
    return Reading("rescore", "mmpose", sized | {"l1.weight": first[:, columns] * signs.to(first.dtype)})


def _joints(last_layer: Tensor, file: str) -> int:
    rows = last_layer.shape[0] if last_layer.ndim == 4 else 0
    if rows == 0 or rows % _ROWS_OF_OFFSET:
        raise misshapen(file, _LAST_LAYER, last_layer, "[2K, C, 1, 1] for K joints")
    return rows // _ROWS_OF_OFFSET


def _convert(name: str, value: Tensor, joints: int, file: str) -> Iterator[tuple[str, Tensor]]:
    if name.startswith(_BACKBONE):
        yield name.removeprefix(_BACKBONE), value
    elif name.startswith(_HEATMAP):
        yield _heatmap_name(name.removeprefix(_HEATMAP)) or name, value
    elif name.startswith(_DISPLACEMENT):
        yield from _convert_displacement(name, value, joints, file)
    else:
        yield name, value


def _heatmap_name(rest: str) -> str | None:
    layer, _, inner = rest.partition(".")
    if layer == "0":
        return _conv_module_name("transition_heatmap", inner)
    return {"1": f"head_heatmap.0.0.{inner}", "2": f"head_heatmap.1.{inner}"}.get(layer)


def _conv_module_name(ours: str, inner: str) -> str | None:
    unit, _, leaf = inner.partition(".")
    return f"{ours}.{_CONV_MODULE[unit]}.{leaf}" if unit in _CONV_MODULE else None


def _convert_displacement(name: str, value: Tensor, joints: int, file: str) -> Iterator[tuple[str, Tensor]]:
    layer, _, inner = name.removeprefix(_DISPLACEMENT).partition(".")
    if layer == "0":
        yield _conv_module_name("transition_offset", inner) or name, value
    elif layer == "3":
        parts = _per_joint(name, value, joints, _ROWS_OF_OFFSET, file)
        yield from ((f"offset_final_layer.{joint}.{inner}", -1 * own) for joint, own in enumerate(parts))
    elif layer in _ADAPTIVE_BLOCKS:
        unit, _, leaf = inner.partition(".")
        rows = _ROWS_OF_AFFINE if unit == "transform_matrix_conv" else None
        for joint, own in enumerate(_per_joint(name, value, joints, rows, file)):
            block = f"offset_feature_layers.{joint}.{_ADAPTIVE_BLOCKS[layer]}."
            yield from ((block + key, tensor) for key, tensor in _convert_adaptive_block(unit, leaf, own))
    else:
        yield name, value


def _per_joint(
    name: str, value: Tensor, joints: int, rows_of_one: int | None, file: str
) -> tuple[Tensor, ...]:
    """Each joint's rows of a tensor; a counter, which has none, is everybody's."""
    if value.ndim == 0 and rows_of_one is None:
        return (value,) * joints
    rows = value.shape[0] if value.ndim else 0
    if rows == 0 or rows % joints or (rows_of_one is not None and rows != joints * rows_of_one):
        of_one = "equally many" if rows_of_one is None else str(rows_of_one)
        raise misshapen(file, shown_name(name), value, f"{of_one} rows for each of {joints} joints")
    return value.chunk(joints)


def _convert_adaptive_block(unit: str, leaf: str, own: Tensor) -> Iterator[tuple[str, Tensor]]:
    if unit == "transform_matrix_conv":
        matrix = own[_MATRIX_ROWS]
        name = f"transform_matrix_conv.{leaf}"
        yield name, matrix + _identity_like(matrix) if leaf == "bias" else matrix
        yield f"translation_conv.{leaf}", own[_TRANSLATION_ROWS]
    else:
        yield (f"bn.{leaf}" if unit == "norm" else f"{unit}.{leaf}"), own


def _identity_like(biases: Tensor) -> Tensor:
    """A = I of the four biases, in whatever further dimensions a malformed file gives them."""
    return biases.new_tensor(_IDENTITY).view(-1, *[1] * (biases.ndim - 1))


def _skeleton_of(first: Tensor, file: str) -> Skeleton:
    for skeleton in (COCO, CROWDPOSE):
        if first.shape[1] == skeleton.score_features:
            return skeleton
    raise misshapen(file, "l1.weight", first, "74 columns (COCO) or 59 (CrowdPose)")


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
