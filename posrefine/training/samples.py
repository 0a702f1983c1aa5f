"""Samples of training: one image with its labelled persons, and a batch of them with targets."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["Batch", "LabelledImage"]


@dataclass(frozen=True)
class LabelledImage:
    """One image with the keypoints of its annotated persons.

    Attributes:
        pixels: [H, W, 3] uint8 RGB.
        keypoints: [P, K, 3] float32: x, y in image px and COCO's visibility (0 not labelled, 1 hidden,
            2 visible).
        areas_px2: [P] float32, area of each person's segment in the original photograph; decides who gets a
            centre.
        diagonals_px: [P] float32, sqrt(w^2 + h^2) of each person's box in the frame of `pixels`.
        ignored: [H, W] bool, True where persons may be who are not labelled (crowds, persons without
            keypoints).
        known_joints: [K] bool, which joints the data set labels at all; the others are neither taught nor
            denied. None: all.
        instances: [H, W] uint8, n + 1 where person n is in front, 0 elsewhere; None: not known.
    """

    pixels: NDArray[np.uint8]
    keypoints: NDArray[np.float32]
    areas_px2: NDArray[np.float32]
    diagonals_px: NDArray[np.float32]
    ignored: NDArray[np.bool_]
    known_joints: NDArray[np.bool_] | None = None
    instances: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        persons = self.keypoints.shape[0]
        if self.keypoints.ndim != 3 or self.keypoints.shape[2] != 3:
            raise ValueError(f"keypoints: expected [P, K, 3], got {list(self.keypoints.shape)}")
        if self.areas_px2.shape != (persons,) or self.diagonals_px.shape != (persons,):
            found = f"{list(self.areas_px2.shape)} areas and {list(self.diagonals_px.shape)} diagonals"
            raise ValueError(f"expected one area and one diagonal for each of {persons} persons, got {found}")
        if self.ignored.shape != self.pixels.shape[:2]:
            raise ValueError(
                f"ignored: expected {list(self.pixels.shape[:2])}, got {list(self.ignored.shape)}"
            )
        joints = self.keypoints.shape[1:2]
        if self.known_joints is not None and self.known_joints.shape != joints:
            raise ValueError(f"known_joints: expected {list(joints)}, got {list(self.known_joints.shape)}")
        if self.instances is not None and self.instances.shape != self.pixels.shape[:2]:
            raise ValueError(
                f"instances: expected {list(self.pixels.shape[:2])}, got {list(self.instances.shape)}"
            )


@dataclass(frozen=True)
class Batch:
    """B images of one size with their targets; h and w are a quarter of the image's sides.

    Attributes:
        images: [B, S, S, 3] uint8 RGB.
        heatmap, heatmap_weight: [B, K + 1, h, w] float32.
        offset, offset_weight: [B, 2K, h, w] float32, heatmap cells.
        persons: how many persons of the batch have a centre.
    """

    images: torch.Tensor
    heatmap: torch.Tensor
    heatmap_weight: torch.Tensor
    offset: torch.Tensor
    offset_weight: torch.Tensor
    persons: int

    def to(self, device: torch.device) -> Batch:
        """The same batch with every tensor on `device`."""
        moved = {
            field.name: value.to(device, non_blocking=True)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), torch.Tensor)
        }
        return Batch(persons=self.persons, **moved)
