"""Deferred shading: quads are painted as numbers, far to near, and the numbers are looked up afterwards.

One pass of Pillow's polygon filler at twice the image size gives, for every sub-pixel, which quad is in
front; colour, owner and depth are one table look-up each, and averaging 2x2 sub-pixels smooths the edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

__all__ = ["SUBPIXELS", "FaceBuffer", "Faces", "rasterize"]

Array = NDArray[np.float64]

SUBPIXELS = 2
"""Sub-pixels a pixel has along each side."""


@dataclass(frozen=True)
class Faces:
    """Quads ready to be painted.

    Attributes:
        corners_px: [F, 4, 2] image px.
        depth_m: [F] of the quad's middle, metres from the camera.
        rgb: [F, 3] 0..255, light included.
        owners: [F] 0 for things, 1.. for persons.
    """

    corners_px: Array
    depth_m: Array
    rgb: Array
    owners: NDArray[np.uint8]

    @staticmethod
    def concatenate(parts: list[Faces]) -> Faces:
        """All quads of the parts."""
        return Faces(
            np.concatenate([part.corners_px for part in parts]),
            np.concatenate([part.depth_m for part in parts]),
            np.concatenate([part.rgb for part in parts]),
            np.concatenate([part.owners for part in parts]),
        )


@dataclass(frozen=True)
class FaceBuffer:
    """Which quad every sub-pixel shows.

    Attributes:
        ids: [2H, 2W] int32; 0 is background, n + 1 the n-th quad of the tables.
        rgba: [F + 1] uint32, packed bytes.
        owners: [F + 1] uint8.
        depth_m: [F + 1]; infinite for the background.
    """

    ids: NDArray[np.int32]
    rgba: NDArray[np.uint32]
    owners: NDArray[np.uint8]
    depth_m: Array

    @property
    def pixel_ids(self) -> NDArray[np.int32]:
        """[H, W] int32: the quad that stands for a whole pixel, one of its sub-pixels."""
        return self.ids[1::SUBPIXELS, 1::SUBPIXELS]

    def instance_map(self) -> NDArray[np.uint8]:
        """[H, W] 0 where no person is in front, 1.. for the persons."""
        return np.take(self.owners, self.pixel_ids)

    def over(self, background: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """[H, W, 3] the quads painted over an image of that shape."""
        packed = np.take(self.rgba, self.ids)
        height, width = packed.shape
        layer = Image.frombuffer("RGBa", (width, height), packed, "raw", "RGBa", 0, 1).reduce(SUBPIXELS)
        pixels = np.asarray(layer)
        # Premultiplied ("RGBa"): uncovered sub-pixels count as black and clear in the mean.
        uncovered = (255 - pixels[:, :, 3:]).astype(np.uint16)
        behind = (background * uncovered + 127) // 255
        return np.asarray(pixels[:, :, :3] + behind.astype(np.uint8))


def rasterize(faces: Faces, width_px: int, height_px: int) -> FaceBuffer:
    """Paint quads far to near."""
    order = np.argsort(-faces.depth_m, kind="stable")
    canvas = Image.new("I", (SUBPIXELS * width_px, SUBPIXELS * height_px))
    draw = ImageDraw.Draw(canvas)
    corners = (faces.corners_px[order] * SUBPIXELS).reshape(len(order), 8).tolist()
    for number, corner in enumerate(corners, start=1):
        draw.polygon(corner, fill=number)
    colours = np.full((len(order) + 1, 4), 255, np.uint8)
    colours[0] = 0
    colours[1:, :3] = np.clip(faces.rgb[order], 0, 255)
    return FaceBuffer(
        ids=np.asarray(canvas, np.int32),
        rgba=colours.view(np.uint32)[:, 0],
        owners=np.concatenate([np.zeros(1, np.uint8), faces.owners[order]]),
        depth_m=np.concatenate([[np.inf], faces.depth_m[order]]),
    )
