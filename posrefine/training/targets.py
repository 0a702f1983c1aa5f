"""What the network should answer for one image: heatmaps, offsets, and how much each cell counts.

Follows DEKR (Geng et al., CVPR 2021) and its public code, with the centre's sigma of 4 for both data sets.
Everything here is in heatmap cells: input px divided by 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from posrefine.training.samples import Batch, LabelledImage

__all__ = ["STRIDE", "TargetSpec", "Targets", "make_batch", "make_targets"]

STRIDE = 4
"""Input px per heatmap cell."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TargetSpec:
    """Sizes of the targets; the defaults are DEKR's for inputs of 512 px and more.

    Attributes:
        joint_sigma_cells, centre_sigma_cells: standard deviations of the Gaussians.
        offset_radius_cells: half side of the square around a centre that learns the offsets.
        background_weight: weight of heatmap cells away from every joint.
        min_area_px2: persons with a smaller segment in the photograph get no centre and no offsets.
    """

    joint_sigma_cells: float = 2.0
    centre_sigma_cells: float = 4.0
    offset_radius_cells: int = 4
    background_weight: float = 0.1
    min_area_px2: float = 32.0**2


@dataclass(frozen=True)
class Targets:
    """Targets of one image.

    Attributes:
        heatmap: [K + 1, h, w] float32, 1 at a joint; the last channel is the centre.
        heatmap_weight: [K + 1, h, w] float32: 1 near a joint, less on background, 0 in ignored regions.
        offset: [2K, h, w] float32, cell minus joint, x then y, so that `cell - offset` is the joint.
        offset_weight: [2K, h, w] float32: 1 / diagonal (input px) around a centre, else 0.
        persons: how many persons have a centre inside the map.
    """

    heatmap: Floats
    heatmap_weight: Floats
    offset: Floats
    offset_weight: Floats
    persons: int


def make_targets(labelled: LabelledImage, spec: TargetSpec) -> Targets:
    """Targets for an image in input px whose sides are multiples of 4."""
    height, width = (side // STRIDE for side in labelled.pixels.shape[:2])
    joints = labelled.keypoints.copy()
    joints[..., :2] /= STRIDE
    centres = _centres(joints, labelled.areas_px2, spec.min_area_px2)
    marks = np.concatenate([joints, centres[:, None]], axis=1)
    sigmas = np.full(marks.shape[1], spec.joint_sigma_cells, np.float32)
    sigmas[-1] = spec.centre_sigma_cells
    heatmap, weight = _heatmap(marks, sigmas, spec.background_weight, height, width)
    weight *= _counted_cells(labelled.ignored)
    offset, offset_weight = _offsets(joints, centres, labelled.diagonals_px, spec, height, width)
    persons = int(_inside(centres, height, width).sum())
    return Targets(heatmap, weight, offset, offset_weight, persons)


def make_batch(images: Sequence[LabelledImage], spec: TargetSpec) -> Batch:
    """A batch of images of one size, all in input px."""
    targets = [make_targets(image, spec) for image in images]

    def stack(arrays: list[NDArray[np.generic]]) -> torch.Tensor:
        return torch.from_numpy(np.stack(arrays))

    return Batch(
        images=stack([image.pixels for image in images]),
        heatmap=stack([target.heatmap for target in targets]),
        heatmap_weight=stack([target.heatmap_weight for target in targets]),
        offset=stack([target.offset for target in targets]),
        offset_weight=stack([target.offset_weight for target in targets]),
        persons=sum(target.persons for target in targets),
    )


def _centres(joints: Floats, areas_px2: Floats, min_area_px2: float) -> Floats:
    """[P, 3] mean of each person's labelled joints; the third number is 1 for persons that get a centre."""
    labelled = joints[..., 2:] > 0
    count = labelled.sum(axis=1)
    mean = np.where(labelled, joints[..., :2], 0).sum(axis=1) / np.maximum(count, 1)
    counts = (count[:, 0] > 0) & (areas_px2 >= min_area_px2)
    return np.concatenate([mean, counts[:, None]], axis=1).astype(np.float32)


def _inside(marks: Floats, height: int, width: int) -> NDArray[np.bool_]:
    x, y, labelled = marks[..., 0], marks[..., 1], marks[..., 2] > 0
    inside: NDArray[np.bool_] = labelled & (x >= 0) & (y >= 0) & (x < width) & (y < height)
    return inside


def _heatmap(
    marks: Floats, sigmas: Floats, background_weight: float, height: int, width: int
) -> tuple[Floats, Floats]:
    """Gaussians of all persons, the higher one where two meet, and the weight of every cell.

    The map carries a margin as wide as the largest window, so no window is ever clipped; one person's joints
    lie on different channels, so they are written in one indexed assignment.
    """
    reach = int(np.ceil(3 * sigmas.max())) + 1
    margin = 2 * reach + 2
    padded = (marks.shape[1], height + 2 * margin, width + 2 * margin)
    heat = np.zeros(padded, np.float32)
    weight = np.full(padded, background_weight, np.float32)
    inside = _inside(marks, height, width)
    for sigma in np.unique(sigmas):
        steps = np.arange(int(6 * sigma) + 4)
        for person, here in zip(marks, inside & (sigmas == sigma), strict=True):
            channel = np.flatnonzero(here)
            start = np.floor(person[channel, :2] - 3 * sigma - 1).astype(np.int64)
            cells = start[:, :, None] + steps
            shape = np.exp(-((cells - person[channel, :2, None]) ** 2) / (2 * sigma**2), dtype=np.float32)
            where = channel[:, None, None], cells[:, 1, :, None] + margin, cells[:, 0, None] + margin
            heat[where] = np.maximum(heat[where], shape[:, 1, :, None] * shape[:, 0, None])
            weight[where] = 1.0
    crop = np.s_[:, margin : margin + height, margin : margin + width]
    return heat[crop], weight[crop]


def _counted_cells(ignored: NDArray[np.bool_]) -> Floats:
    """[h, w] 1 where a cell's middle is not in an ignored region."""
    half = STRIDE // 2
    height, width = (side // STRIDE for side in ignored.shape)
    counted = ~ignored[half::STRIDE, half::STRIDE][:height, :width]
    return counted.astype(np.float32)


def _offsets(
    joints: Floats, centres: Floats, diagonals_px: Floats, spec: TargetSpec, height: int, width: int
) -> tuple[Floats, Floats]:
    """Offsets painted from the largest person to the smallest, so the smallest wins where squares overlap."""
    num_joints = joints.shape[1]
    offset = np.zeros((num_joints, 2, height, width), np.float32)
    weight = np.zeros_like(offset)
    with_centre = np.flatnonzero(_inside(centres, height, width))
    for person in with_centre[np.argsort(-diagonals_px[with_centre], kind="stable")]:
        channel = np.flatnonzero(_inside(joints[person], height, width))
        x, y = (int(value) for value in centres[person, :2])
        columns = np.arange(max(x - spec.offset_radius_cells, 0), min(x + spec.offset_radius_cells, width))
        rows = np.arange(max(y - spec.offset_radius_cells, 0), min(y + spec.offset_radius_cells, height))
        square = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        position = joints[person, channel]
        offset[channel, 0, *square] = columns[None, None, :] - position[:, 0, None, None]
        offset[channel, 1, *square] = rows[None, :, None] - position[:, 1, None, None]
        weight[channel, :, *square] = 1.0 / max(float(diagonals_px[person]), 1.0)
    return offset.reshape(-1, height, width), weight.reshape(-1, height, width)
