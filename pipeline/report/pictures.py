"""Photographs with drawn skeletons, small enough to be part of the page."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass, replace

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from pipeline.inputs.single_image import ImageReader
from pipeline.output.schema import LABELLED
from pipeline.report.gallery import Pick
from posrefine.drawing import draw_annotated, draw_poses, draw_spread
from posrefine.errors import ImageError, ObjectChanged, ObjectMissing, ShardError, StorageError
from posrefine.poses import Poses
from posrefine.skeletons import Skeleton

__all__ = ["Picture", "PictureMaker"]

_LONG_SIDE_PX = 640
_JPEG_QUALITY = 80


@dataclass(frozen=True)
class Picture:
    """A picture of the gallery, or why there is none.

    Attributes:
        key: of the image.
        reason: why it was picked.
        alt: what can be seen, in words.
        source: data URI of a JPEG; None where the image could not be had.
        note: why there is no picture; None where there is one.
        width_px: of the picture.
        height_px: of the picture.
    """

    key: str
    reason: str
    alt: str
    source: str | None
    note: str | None
    width_px: int = 0
    height_px: int = 0


class PictureMaker:
    """Fetches images and draws on them who has at least `min_score`.

    A missing image is a note in its place, and so is a store that cannot be reached: that is asked once, for
    each vain call takes minutes.
    """

    def __init__(self, reader: ImageReader, skeleton: Skeleton, min_score: float) -> None:
        self._reader, self._skeleton, self._min_score = reader, skeleton, min_score
        self._unreachable: str | None = None

    def make(self, pick: Pick) -> Picture:
        """The picture of one pick."""
        poses = pick.image.poses or Poses.none(self._skeleton.num_joints)
        drawn = int((poses.scores >= self._min_score).sum())
        alt = f"{pick.image.image_key} with {drawn} drawn skeleton{'' if drawn == 1 else 's'}, {pick.reason}"
        picture = Picture(pick.image.image_key, pick.reason, alt, None, None)
        pixels = self._fetch(pick)
        if isinstance(pixels, str):
            return replace(picture, note=pixels)
        encoded = _jpeg(self._draw(pixels, pick, poses))
        height_px, width_px, _ = encoded.shape
        return replace(picture, source=encoded.source, width_px=width_px, height_px=height_px)

    def _fetch(self, pick: Pick) -> NDArray[np.uint8] | str:
        """[H, W, 3] uint8, or why it cannot be had."""
        if self._unreachable is not None:
            return self._unreachable
        try:
            return self._reader.pixels(pick.image.uri, pick.image.sha256)
        except ObjectMissing as error:
            return f"The image is not there any more: {error}"
        except (ObjectChanged, ShardError, ImageError) as error:
            return f"The image cannot be shown: {error}"
        except StorageError as error:
            self._unreachable = f"The store of the images could not be used: {error}"
            return self._unreachable

    def _draw(self, pixels: NDArray[np.uint8], pick: Pick, poses: Poses) -> NDArray[np.uint8]:
        small, scale = _shrink(pixels)
        at_size = replace(poses, keypoints=poses.keypoints * scale, spread_px=poses.spread_px * scale)
        if pick.truth is not None:
            small = draw_annotated(small, pick.truth.keypoints * scale, pick.truth.labelled, self._skeleton)
        small = draw_poses(
            small,
            at_size,
            self._skeleton,
            min_score=self._min_score,
            min_keypoint_score=-math.inf if pick.image.labels is None else LABELLED,
        )
        return draw_spread(small, at_size, min_score=self._min_score) if pick.rings else small


@dataclass(frozen=True)
class _Jpeg:
    source: str
    shape: tuple[int, int, int]


def _shrink(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """The image with its long side at most 640 px, and the factor."""
    height, width, _ = pixels.shape
    scale = min(1.0, _LONG_SIDE_PX / max(height, width))
    if scale == 1.0:
        return pixels, 1.0
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)), scale


def _jpeg(pixels: NDArray[np.uint8]) -> _Jpeg:
    data = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=_JPEG_QUALITY, colorsubsampling="420")
    height, width, channels = pixels.shape
    return _Jpeg(f"data:image/jpeg;base64,{base64.b64encode(data).decode()}", (height, width, channels))
