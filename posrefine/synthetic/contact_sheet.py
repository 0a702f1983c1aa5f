"""Many scenes on one page, to be looked at."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from posrefine.skeletons import COCO, Skeleton
from posrefine.synthetic.scene import Scene

__all__ = ["contact_sheet"]

_LEFT, _RIGHT, _MIDDLE = (255, 140, 0), (0, 190, 255), (120, 255, 90)
_GAP_PX = 4


def contact_sheet(
    scenes: Sequence[Scene],
    *,
    columns: int = 5,
    tile_px: int = 320,
    overlay: Collection[int] = (),
    skeleton: Skeleton = COCO,
) -> NDArray[np.uint8]:
    """A grid of scenes, [H, W, 3] uint8 RGB.

    Args:
        scenes: at least one, row by row.
        tile_px: width of a scene on the sheet; heights keep their proportion, the tallest sets the row.
        overlay: positions of the scenes that get joints drawn: the person's left orange, right blue; visible
            joints filled, hidden ones hollow.
    """
    tiles = [
        _tile(scene, tile_px, skeleton if index in overlay else None) for index, scene in enumerate(scenes)
    ]
    tile_height = max(tile.height for tile in tiles)
    rows = -(-len(tiles) // columns)
    size = (columns * (tile_px + _GAP_PX) - _GAP_PX, rows * (tile_height + _GAP_PX) - _GAP_PX)
    sheet = Image.new("RGB", size, (24, 24, 24))
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        sheet.paste(tile, (column * (tile_px + _GAP_PX), row * (tile_height + _GAP_PX)))
    return np.asarray(sheet)


def _tile(scene: Scene, tile_px: int, skeleton: Skeleton | None) -> Image.Image:
    height, width = scene.image.shape[:2]
    scale = tile_px / width
    tile = Image.fromarray(scene.image).resize((tile_px, round(height * scale)), Image.Resampling.LANCZOS)
    if skeleton is not None:
        draw = ImageDraw.Draw(tile)
        for person in scene.persons:
            keypoints = person.keypoints(skeleton).copy()
            # Sizes scale from the image's corner, indices count from the middle of the first pixel.
            keypoints[:, :2] = (keypoints[:, :2] + 0.5) * scale - 0.5
            _draw_person(draw, keypoints, skeleton)
    return tile


def _draw_person(draw: ImageDraw.ImageDraw, keypoints: NDArray[np.floating], skeleton: Skeleton) -> None:
    points = keypoints[:, :2].tolist()
    labelled = keypoints[:, 2] > 0
    for first, second in skeleton.limbs:
        if labelled[first] and labelled[second]:
            draw.line((*points[first], *points[second]), _colour(skeleton, first, second), 1)
    for index in np.flatnonzero(labelled).tolist():
        x, y = points[index]
        colour = _colour(skeleton, index, index)
        fill = colour if keypoints[index, 2] > 1 else None
        draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill, colour)


def _colour(skeleton: Skeleton, first: int, second: int) -> tuple[int, int, int]:
    names = skeleton.joints[first], skeleton.joints[second]
    if all(name.startswith("left_") for name in names):
        return _LEFT
    return _RIGHT if all(name.startswith("right_") for name in names) else _MIDDLE
