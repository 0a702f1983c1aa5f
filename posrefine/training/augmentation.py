"""Random views of a training image: rotation, scale, translation and mirroring as one affine map.

Follows DEKR's ranges. Image, ignored regions and joints go through the same matrix, so joints stay on their
pixels, also when mirrored (DEKR's own mirroring is off by three quarters of a heatmap cell).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from posrefine.skeletons import Skeleton
from posrefine.training.samples import LabelledImage

__all__ = ["Augmentation", "View", "apply_view", "make_view", "pillow_coefficients", "warp"]

Matrix = NDArray[np.float64]

DEKR_SCALE_PX = 200.0
"""DEKR counts translations in units of a scale of which one is 200 px of the cut-out's side."""


@dataclass(frozen=True)
class View:
    """One affine map from image px to input px.

    Attributes:
        matrix: [2, 3] float64, applied to (x, y, 1) of pixel indices.
        size_px: side of the square input.
        mirrored: whether left and right joints have to change places.
    """

    matrix: Matrix
    size_px: int
    mirrored: bool


@dataclass(frozen=True)
class Augmentation:
    """Ranges to draw views from.

    Attributes:
        input_size_px: side of the square input.
        max_rotation_deg: rotation is uniform in plus or minus this.
        scale_range: the cut-out's side in short sides of the image, uniform.
        max_translation: the cut-out moves by up to this many 200ths of its side, each way.
        flip_probability: of mirroring.
        person_probability: that the cut-out is one around a random person, not around the image's middle.
            What a person looks like is learnt from those that fill their view.
        person_size_range_px: the diagonal of that person's box as the view shows it, input px, uniform in its
            logarithm. Views of any side show persons in the sizes that the network is meant for.
        largest_cut_out: cut-outs around persons have this side at most, in short sides of the image: a person
            that fills the image is not shown small in the middle of nothing. None: no limit.
    """

    input_size_px: int = 512
    max_rotation_deg: float = 30.0
    scale_range: tuple[float, float] = (0.75, 1.5)
    max_translation: float = 40.0
    flip_probability: float = 0.5
    person_probability: float = 0.0
    person_size_range_px: tuple[float, float] = (128.0, 512.0)
    largest_cut_out: float | None = None

    def draw(self, rng: np.random.Generator, labelled: LabelledImage) -> View:
        """A random view of the image; always takes the same number of draws from `rng`."""
        scale, angle, right, down, coin, around, who = rng.random(7)
        height_px, width_px = labelled.pixels.shape[:2]
        persons = _persons_with_joints(labelled)
        if around < self.person_probability and len(persons):
            person = persons[int(who * len(persons))]
            x, y = _middle(labelled.keypoints[person])
            smallest, largest = self.person_size_range_px
            shown_px = smallest * (largest / smallest) ** scale
            side_px = float(labelled.diagonals_px[person]) * self.input_size_px / shown_px
            if self.largest_cut_out is not None:
                side_px = min(side_px, self.largest_cut_out * min(height_px, width_px))
        else:
            x, y = (width_px - 1) / 2, (height_px - 1) / 2
            low, high = self.scale_range
            side_px = min(height_px, width_px) * (low + (high - low) * scale)
        reach_px = self.max_translation / DEKR_SCALE_PX * side_px
        centre = (x + reach_px * (2 * right - 1), y + reach_px * (2 * down - 1))
        rotation_deg = self.max_rotation_deg * (2 * angle - 1)
        return make_view(
            centre, side_px, rotation_deg, self.input_size_px, bool(coin < self.flip_probability)
        )


def _persons_with_joints(labelled: LabelledImage) -> NDArray[np.intp]:
    """Which persons have a labelled joint and a box to measure them by."""
    has_joints = (labelled.keypoints[..., 2] > 0).any(axis=1)
    return np.flatnonzero(has_joints & (labelled.diagonals_px >= 1))


def _middle(keypoints: NDArray[np.float32]) -> tuple[float, float]:
    """Image px: the mean of the labelled joints of [K, 3]."""
    x, y = keypoints[keypoints[:, 2] > 0, :2].mean(axis=0)
    return float(x), float(y)


def make_view(
    centre_px: tuple[float, float], side_px: float, rotation_deg: float, size_px: int, mirrored: bool
) -> View:
    """The view that shows a rotated square of side `side_px` around `centre_px` (both image px)."""
    radians = np.deg2rad(rotation_deg)
    zoom = size_px / side_px
    linear = zoom * np.array([[np.cos(radians), -np.sin(radians)], [np.sin(radians), np.cos(radians)]])
    if mirrored:
        linear[0] *= -1
    middle = np.full(2, (size_px - 1) / 2)
    matrix = np.column_stack([linear, middle - linear @ np.asarray(centre_px)])
    return View(matrix=matrix, size_px=size_px, mirrored=mirrored)


def apply_view(labelled: LabelledImage, view: View, skeleton: Skeleton) -> LabelledImage:
    """The image as seen through `view`, in input px; outside the photograph it is black and ignored.

    Masks of persons are left behind.
    """
    keypoints = labelled.keypoints.copy()
    keypoints[..., :2] = keypoints[..., :2] @ view.matrix[:, :2].T + view.matrix[:, 2]
    if view.mirrored:
        keypoints = keypoints[:, list(skeleton.flip_order)]
    known = labelled.known_joints
    if known is not None and view.mirrored:
        known = known[list(skeleton.flip_order)]
    zoom = float(np.sqrt(abs(np.linalg.det(view.matrix[:, :2]))))
    coefficients = pillow_coefficients(view.matrix)
    counted = Image.fromarray((~labelled.ignored).view(np.uint8) * np.uint8(255))
    return LabelledImage(
        pixels=warp(Image.fromarray(labelled.pixels), coefficients, view.size_px, Image.Resampling.BILINEAR),
        keypoints=keypoints,
        areas_px2=labelled.areas_px2,
        diagonals_px=labelled.diagonals_px * np.float32(zoom),
        ignored=warp(counted, coefficients, view.size_px, Image.Resampling.NEAREST) == 0,
        known_joints=known,
    )


def warp(
    image: Image.Image, coefficients: tuple[float, ...], size_px: int, resampling: Image.Resampling
) -> NDArray[np.uint8]:
    """The square of side `size_px` that an affine map shows; `coefficients` are `pillow_coefficients`."""
    warped = image.transform((size_px, size_px), Image.Transform.AFFINE, coefficients, resampling)
    return np.asarray(warped)


def pillow_coefficients(matrix: Matrix) -> tuple[float, ...]:
    """The inverse map as Pillow wants it: between corners of pixels (index + 1/2) instead of indices."""
    inverse = np.linalg.inv(matrix[:, :2])
    half = np.full(2, 0.5)
    shift = half - inverse @ (matrix[:, 2] + half)
    return tuple(np.column_stack([inverse, shift]).ravel().tolist())
