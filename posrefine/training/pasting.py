"""Rendered persons pasted into views of photographs: their masks are exact, and what is behind is real."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from posrefine.errors import ConfigurationError
from posrefine.skeletons import Skeleton
from posrefine.training.augmentation import apply_view, make_view, pillow_coefficients, warp
from posrefine.training.samples import LabelledImage

__all__ = ["Pasting"]

_HIDDEN_SHARE = 0.7
"""Of a person's joints: who has more of them behind the pasted one is not looked for any longer."""
_LEAST_JOINTS = 5
_SOLID = 127
"""Of 255, from which a pixel of the warped mask is the pasted person's."""


class _Donors(Protocol):
    """Images with masks of their persons, by position."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int) -> LabelledImage: ...


@dataclass(frozen=True)
class Pasting:
    """Where pasted persons come from, and how they are put in.

    Attributes:
        donors: images whose `instances` are known.
        probability: that a view gets a person pasted in.
        person_size_range_px: diagonal of the pasted person's box in the view, input px.
        max_rotation_deg: turned by up to this, each way.
    """

    donors: _Donors
    probability: float
    person_size_range_px: tuple[float, float] = (45.0, 210.0)
    max_rotation_deg: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ConfigurationError(f"probability {self.probability}: give a number from 0 to 1")

    def apply(self, view: LabelledImage, skeleton: Skeleton, rng: np.random.Generator) -> LabelledImage:
        """The view, with one person of a random donor in front of everybody or as it was."""
        if rng.random() >= self.probability:
            return view
        donor = self.donors[int(rng.integers(len(self.donors)))]
        persons = np.flatnonzero((donor.keypoints[..., 2] > 0).sum(axis=1) >= _LEAST_JOINTS)
        if donor.instances is None or len(persons) == 0:
            return view
        person = int(rng.choice(persons))
        return self._paste(view, _only(donor, person), donor.instances == person + 1, skeleton, rng)

    def _paste(
        self,
        view: LabelledImage,
        donor: LabelledImage,
        segment: NDArray[np.bool_],
        skeleton: Skeleton,
        rng: np.random.Generator,
    ) -> LabelledImage:
        size_px = view.pixels.shape[0]
        smallest, largest = self.person_size_range_px
        shown_px = smallest * (largest / smallest) ** rng.random()
        side_px = float(donor.diagonals_px[0]) * size_px / shown_px
        points = donor.keypoints[0]
        middle = points[points[:, 2] > 0, :2].mean(axis=0)
        # The person's middle lands anywhere in the view.
        x, y = (middle + side_px * rng.uniform(-0.5, 0.5, 2)).tolist()
        rotation_deg = self.max_rotation_deg * rng.uniform(-1, 1)
        through = make_view((x, y), side_px, rotation_deg, size_px, bool(rng.random() < 0.5))
        shown = apply_view(donor, through, skeleton)
        cut_out = Image.fromarray(segment.view(np.uint8) * np.uint8(255))
        mask = warp(cut_out, pillow_coefficients(through.matrix), size_px, Image.Resampling.BILINEAR)
        return _over(shown, mask, view)


def _only(donor: LabelledImage, person: int) -> LabelledImage:
    one = slice(person, person + 1)
    return replace(
        donor,
        keypoints=donor.keypoints[one],
        areas_px2=donor.areas_px2[one],
        diagonals_px=donor.diagonals_px[one],
    )


def _over(shown: LabelledImage, mask: NDArray[np.uint8], view: LabelledImage) -> LabelledImage:
    """The person of `shown` where `mask` [S, S] is 255, mixed with `view` towards 0."""
    alpha = mask[..., None].astype(np.uint16)
    mixed = (shown.pixels * alpha + view.pixels * (255 - alpha) + 127) // 255
    solid = mask > _SOLID
    keypoints, behind = _hidden_behind(solid, view.keypoints)
    stays = behind <= _HIDDEN_SHARE
    return LabelledImage(
        pixels=mixed.astype(np.uint8),
        keypoints=np.concatenate([keypoints[stays], shown.keypoints]),
        areas_px2=np.concatenate([view.areas_px2[stays], shown.areas_px2]),
        diagonals_px=np.concatenate([view.diagonals_px[stays], shown.diagonals_px]),
        ignored=view.ignored & ~solid,
        known_joints=view.known_joints,
    )


def _hidden_behind(
    solid: NDArray[np.bool_], keypoints: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Keypoints [P, K, 3] with those behind the mask marked hidden, and each person's share of them, [P]."""
    size_px = len(solid)
    pixels = np.rint(keypoints[..., :2]).astype(np.int64)
    inside = (keypoints[..., 2] > 0) & (pixels >= 0).all(axis=2) & (pixels < size_px).all(axis=2)
    x, y = np.clip(pixels, 0, size_px - 1).transpose(2, 0, 1)
    behind = inside & solid[y, x]
    marked = keypoints.copy()
    marked[behind, 2] = 1.0
    labelled = (keypoints[..., 2] > 0).sum(axis=1)
    return marked, behind.sum(axis=1) / np.maximum(labelled, 1)
