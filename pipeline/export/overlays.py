"""The images themselves with the skeletons drawn on them."""

from __future__ import annotations

import numpy as np
import simplejpeg

from pipeline.export.source import ExportedImage, ExportSource, ExportSummary, PathsInFolder
from pipeline.inputs.single_image import ImageReader
from pipeline.output.schema import LABELLED
from pipeline.storage.ordered_map import map_in_order
from pipeline.storage.uris import join_uri
from posrefine.drawing import draw_poses
from posrefine.errors import ImageError, ObjectChanged, ObjectMissing, ShardError

__all__ = ["export_overlays"]

_IMAGES_AT_ONCE = 4
_JPEG_QUALITY = 90


def export_overlays(source: ExportSource, output: str) -> ExportSummary:
    """Write `<key>.jpg` for every image, at full size.

    Images that are gone or changed since the run are left out and counted.

    Raises:
        ConfigurationError: two images would share a file.
        StorageError: the store could not be reached.
    """
    source.applies_exif = False
    paths = PathsInFolder(".jpg")
    draw = _Overlay(source, output)
    jobs = ((image, paths.of(image.key)) for image in source.images())
    for image, problem in map_in_order(draw, jobs, _IMAGES_AT_ONCE):
        if problem is not None:
            source.skipped[problem] += 1
            source.image_count -= 1
            source.person_count -= len(image.poses)
            source.below_count -= image.persons_below
    return source.summary("overlays", output)


class _Overlay:
    """Draws one image and puts it; gives the image back with the reason where that is not possible."""

    def __init__(self, source: ExportSource, output: str) -> None:
        self._source, self._output = source, output
        self._reader = ImageReader.under(source.rows.settings, source.storage)

    def __call__(self, job: tuple[ExportedImage, str]) -> tuple[ExportedImage, str | None]:
        image, path = job
        try:
            pixels = self._reader.pixels(image.uri, image.sha256)
        except ObjectMissing:
            return image, "the image is gone"
        except (ObjectChanged, ShardError, ImageError):
            return image, "the image has changed since the run"
        drawn = draw_poses(
            pixels,
            image.poses,
            self._source.rows.skeleton,
            min_keypoint_score=self._source.options.min_keypoint_score if image.labels is None else LABELLED,
        )
        encoded = simplejpeg.encode_jpeg(np.ascontiguousarray(drawn), quality=_JPEG_QUALITY)
        self._source.storage.put(join_uri(self._output, path), encoded)
        return image, None
