"""From a unit's loaded images to its rows, in one process; inference actors and `replay` share it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.config import RunSettings
from pipeline.image_ids import ImageIds
from pipeline.network import Network
from pipeline.quarantine import Attempt
from pipeline.schema import ImageResult
from pipeline.units import LoadedImage
from posrefine.errors import ImageError, ImageStatus
from posrefine.inference.fast.prepare import Preparation
from posrefine.inference.poses import Poses

__all__ = ["UnitAnnotator", "UnitResults"]


@dataclass(frozen=True)
class UnitResults:
    """Results of a unit's images in order, and the seconds that the bare predictor took for them."""

    results: list[ImageResult]
    predictor_s: float


class UnitAnnotator:
    """Turns loaded images into results; may be called by several threads, of which one at a time predicts.

    Args:
        network: the network with its weights.
        settings: of the run.
        device: `cpu` or `cuda`.
        image_ids: which image id an image key stands for.
    """

    def __init__(self, network: Network, settings: RunSettings, device: str, image_ids: ImageIds) -> None:
        self._predictor = network.predictor(settings, device)
        self._image_ids = image_ids
        self._predicting = threading.Lock()

    @property
    def preparation(self) -> Preparation:
        """How the network was made ready for the device."""
        return self._predictor.preparation

    def __call__(self, images: Sequence[LoadedImage]) -> UnitResults:
        """The results of all images, predicted together."""
        checked = [self._check(image) for image in images]
        pixels = [image.pixels for image in checked if image.pixels is not None]
        with self._predicting:
            started = time.perf_counter()
            poses = iter(self._predictor(pixels))
            predictor_s = time.perf_counter() - started
        results = [self._result(image, None if image.pixels is None else next(poses)) for image in checked]
        return UnitResults(results, predictor_s)

    def one_by_one(
        self, images: Sequence[LoadedImage], attempt: Attempt, touch: Callable[[str], None]
    ) -> UnitResults:
        """The same, image by image, announcing each one and leaving out those that killed workers."""
        parts = []
        for image in images:
            if attempt.hopeless or image.uri in attempt.quarantined:
                parts.append(UnitResults([self._result(_worker_died(image), None)], 0.0))
                continue
            touch(image.uri)
            parts.append(self([image]))
        return UnitResults([part.results[0] for part in parts], sum(part.predictor_s for part in parts))

    def _check(self, image: LoadedImage) -> LoadedImage:
        """The image, failed if the predictor would refuse it."""
        if image.pixels is None:
            return image
        try:
            self._predictor.plan(image.pixels.shape[:2])
        except ImageError as error:
            return _failed(image, error.status, str(error))
        return image

    def _result(self, image: LoadedImage, poses: Poses | None) -> ImageResult:
        return ImageResult(
            image_key=image.image_key,
            image_id=self._image_ids.of(image.image_key),
            uri=image.uri,
            width=image.width,
            height=image.height,
            exif_orientation=image.exif_orientation,
            sha256=image.sha256,
            status=image.status,
            error=image.error,
            poses=poses,
        )


def _worker_died(image: LoadedImage) -> LoadedImage:
    if image.status is not ImageStatus.OK:
        return image
    error = "predicting it killed its worker, again and also alone"
    return _failed(image, ImageStatus.WORKER_DIED, error)


def _failed(image: LoadedImage, status: ImageStatus, error: str) -> LoadedImage:
    return LoadedImage(
        image_key=image.image_key,
        uri=image.uri,
        status=status,
        error=error,
        width=image.width,
        height=image.height,
        exif_orientation=image.exif_orientation,
        sha256=image.sha256,
        encoded_bytes=image.encoded_bytes,
    )
