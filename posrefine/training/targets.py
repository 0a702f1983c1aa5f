"""Targets of images: heatmaps, offsets, and the weight of each cell in the losses.

Follows DEKR (Geng et al., CVPR 2021) and its public code, with the centre's sigma of 4 for both data sets.
Everything here is in heatmap cells: input px divided by 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from posrefine.test_protocols import STRIDE
from posrefine.training.samples import Batch, LabelledImage

__all__ = ["TargetSpec", "make_batch"]

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


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


def make_batch(images: Sequence[LabelledImage], spec: TargetSpec) -> Batch:
    """Images of one size, their sides multiples of 4, all in input px, with their targets.

    The targets are made for all persons of the batch at once: a few large steps in NumPy, where a loop over
    persons would keep Python from the training step beside it. In heatmap cells:

    - heatmap: 1 at a joint; the last channel is the centre.
    - heatmap_weight: 1 near a joint, less on background, 0 in ignored regions and for joints that an image's
      data set does not label.
    - offset: cell minus joint, so that `cell - offset` is the joint; x and y of joint 0, of joint 1, ...
    - offset_weight: 1 / diagonal (input px) around a centre, else 0.
    """
    persons = _Persons.of(images, spec)
    height, width = (side // STRIDE for side in images[0].pixels.shape[:2])
    maps = len(images), height, width
    heatmap, weight = _heatmaps(persons, spec, maps)
    weight *= np.stack([_counted_cells(image.ignored) for image in images])[:, None]
    for number, image in enumerate(images):
        if image.known_joints is not None:
            # The centre, the last channel, is the mean of the joints that are labelled.
            weight[number, :-1][~image.known_joints] = 0
    offset, offset_weight = _offsets(persons, spec.offset_radius_cells, maps)
    return Batch(
        images=torch.from_numpy(np.stack([image.pixels for image in images])),
        heatmap=torch.from_numpy(heatmap),
        heatmap_weight=torch.from_numpy(weight),
        offset=torch.from_numpy(offset),
        offset_weight=torch.from_numpy(offset_weight),
        persons=int(_inside(persons.centres, height, width).sum()),
    )


@dataclass(frozen=True)
class _Persons:
    """The persons of a batch, in heatmap cells but for their diagonals.

    Attributes:
        image: [N] position of each person's image in the batch.
        joints: [N, K, 3] x, y, visibility.
        centres: [N, 3] mean of the labelled joints; the third number is 1 for persons that get a centre.
        diagonals_px: [N] input px.
    """

    image: Integers
    joints: Floats
    centres: Floats
    diagonals_px: Floats

    @staticmethod
    def of(images: Sequence[LabelledImage], spec: TargetSpec) -> _Persons:
        joints = np.concatenate([image.keypoints for image in images])
        joints[..., :2] /= STRIDE
        areas_px2 = np.concatenate([image.areas_px2 for image in images])
        return _Persons(
            np.repeat(np.arange(len(images)), [len(image.keypoints) for image in images]),
            joints,
            _centres(joints, areas_px2, spec.min_area_px2),
            np.concatenate([image.diagonals_px for image in images]),
        )


def _centres(joints: Floats, areas_px2: Floats, min_area_px2: float) -> Floats:
    labelled = joints[..., 2:] > 0
    count = labelled.sum(axis=1)
    mean = np.where(labelled, joints[..., :2], 0).sum(axis=1) / np.maximum(count, 1)
    counts = (count[:, 0] > 0) & (areas_px2 >= min_area_px2)
    return np.concatenate([mean, counts[:, None]], axis=1).astype(np.float32)


def _inside(marks: Floats, height: int, width: int) -> NDArray[np.bool_]:
    """Which marks [..., 3] are labelled and on the image: from -0.5 to size - 0.5 in its px."""
    x, y, labelled = marks[..., 0], marks[..., 1], marks[..., 2] > 0
    first = -0.5 / STRIDE
    inside: NDArray[np.bool_] = (
        labelled & (x >= first) & (y >= first) & (x <= width + first) & (y <= height + first)
    )
    return inside


def _heatmaps(persons: _Persons, spec: TargetSpec, maps: tuple[int, int, int]) -> tuple[Floats, Floats]:
    """[B, K + 1, h, w] Gaussians of all persons, the higher one where two meet, and the weight of every cell.

    The maps carry a margin as wide as the largest window, so no window is ever clipped.
    """
    batch, height, width = maps
    marks = np.concatenate([persons.joints, persons.centres[:, None]], axis=1)
    sigmas = np.full(marks.shape[1], spec.joint_sigma_cells, np.float32)
    sigmas[-1] = spec.centre_sigma_cells
    margin = 2 * int(np.ceil(3 * sigmas.max())) + 4
    padded = (batch, marks.shape[1], height + 2 * margin, width + 2 * margin)
    heat = np.zeros(padded, np.float32)
    weight = np.full(padded, spec.background_weight, np.float32)
    inside = _inside(marks, height, width)
    for sigma in np.unique(sigmas):
        person, channel = np.nonzero(inside & (sigmas == sigma))
        position = marks[person, channel, :2]
        start = np.floor(position - 3 * sigma - 1).astype(np.int64)
        cells = start[:, :, None] + np.arange(int(6 * sigma) + 4)
        shape = np.exp(-((cells - position[:, :, None]) ** 2) / (2 * sigma**2), dtype=np.float32)
        first = np.ravel_multi_index((persons.image[person], channel), padded[:2])[:, None]
        row = (first * padded[2] + cells[:, 1] + margin) * padded[3]
        where = (row[:, :, None] + cells[:, 0, None] + margin).ravel()
        np.maximum.at(heat.reshape(-1), where, (shape[:, 1, :, None] * shape[:, 0, None]).ravel())
        weight.reshape(-1)[where] = 1.0
    crop = np.s_[:, :, margin : margin + height, margin : margin + width]
    return np.ascontiguousarray(heat[crop]), np.ascontiguousarray(weight[crop])


def _counted_cells(ignored: NDArray[np.bool_]) -> Floats:
    """[h, w] 1 where a cell's middle is not in an ignored region."""
    half = STRIDE // 2
    height, width = (side // STRIDE for side in ignored.shape)
    counted = ~ignored[half::STRIDE, half::STRIDE][:height, :width]
    return counted.astype(np.float32)


def _offsets(persons: _Persons, radius: int, maps: tuple[int, int, int]) -> tuple[Floats, Floats]:
    """[B, 2K, h, w] offsets and their weights, from squares around the centres.

    Squares are painted from the largest person to the smallest, so the smallest wins where they overlap: of
    values for the same cell, NumPy keeps the last.
    """
    batch, height, width = maps
    num_joints = persons.joints.shape[1]
    offset = np.zeros((batch, num_joints, 2, height, width), np.float32)
    weight = np.zeros_like(offset)
    with_centre = np.flatnonzero(_inside(persons.centres, height, width))
    order = with_centre[np.argsort(-persons.diagonals_px[with_centre], kind="stable")]
    painted, channel = np.nonzero(_inside(persons.joints[order], height, width))
    person = order[painted]
    steps = np.arange(-radius, radius)
    middle = persons.centres[person, :2].astype(np.int64)
    column, row = np.broadcast_arrays(
        middle[:, 0, None, None] + steps, middle[:, 1, None, None] + steps[:, None]
    )
    mark, *_ = np.nonzero(on_map := (column >= 0) & (row >= 0) & (column < width) & (row < height))
    column, row, person, channel = column[on_map], row[on_map], person[mark], channel[mark]
    at = persons.image[person], channel
    offset[*at, 0, row, column] = column - persons.joints[person, channel, 0]
    offset[*at, 1, row, column] = row - persons.joints[person, channel, 1]
    weight[*at, :, row, column] = (1.0 / np.maximum(persons.diagonals_px[person], 1.0))[:, None]
    shape = batch, 2 * num_joints, height, width
    return offset.reshape(shape), weight.reshape(shape)
