"""From a unit's loaded images to its rows, in one process; inference actors and `replay` share it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from pipeline.ground_truth.image_names import NamedImages
from pipeline.inputs.readers import Guard, ReadOptions, decode, decoded_bytes_of, read_options
from pipeline.inputs.units import LoadedImage, Reduction
from pipeline.model.network import Network
from pipeline.output.schema import ImageResult
from pipeline.settings.run import RunSettings
from posrefine.errors import ConfigurationError, ImageError, ImageStatus
from posrefine.inference.fast.prepare import Preparation
from posrefine.poses import Poses

__all__ = ["DECODED_AT_ONCE_BYTES", "UnitAnnotator", "UnitResults"]

logger = logging.getLogger(__name__)

DECODED_AT_ONCE_BYTES = 256 * 2**20
"""Of the images that come encoded, so much is decoded right before the network sees it."""


@dataclass(frozen=True)
class UnitResults:
    """Results of a unit's images in order, and what the bare predictor took for them.

    Attributes:
        results: one for each image.
        predictor_s: seconds.
        busy_s: seconds of processors: of the device, or of the CPU's cores as far as they really ran.
    """

    results: list[ImageResult]
    predictor_s: float
    busy_s: float


class UnitAnnotator:
    """Turns loaded images into results; may be called by several threads, of which one at a time predicts.

    Args:
        network: the network with its weights.
        settings: of the run.
        device: `auto`, `cpu` or `cuda`.
        image_names: tells the image id of an image key.
        reading: how images that come encoded are decoded; None: as the settings say.
    """

    def __init__(
        self,
        network: Network,
        settings: RunSettings,
        device: str,
        image_names: NamedImages,
        reading: ReadOptions | None = None,
    ) -> None:
        self._reading = reading or read_options(settings, network.identity.input_size)
        self._predictor = network.predictor(settings, device)
        self._image_names = image_names
        self._predicting = threading.Lock()

    @property
    def preparation(self) -> Preparation:
        """How the network was made ready for the device."""
        return self._predictor.preparation

    def __call__(
        self,
        images: Sequence[LoadedImage],
        guard: Guard | None = None,
        decoded_bytes: int = DECODED_AT_ONCE_BYTES,
    ) -> UnitResults:
        """The results of all images, predicted together as far as they fit into memory.

        Args:
            images: of the unit.
            guard: entered around the decoding of each image that comes encoded; see `ReadOptions.guard`.
            decoded_bytes: of those images that are decoded at once; one may be larger.
        """
        reading = self._reading if guard is None else replace(self._reading, guard=guard)
        return _joined([self._predict(part) for part in _parts(images, reading, decoded_bytes)])

    def _predict(self, images: Sequence[LoadedImage]) -> UnitResults:
        checked = [self._check(image) for image in images]
        pixels = [image.pixels for image in checked if image.pixels is not None]
        with self._predicting:
            started, started_cpu = time.perf_counter(), time.thread_time()
            poses = iter(self._predictor(pixels))
            predictor_s, cpu_s = time.perf_counter() - started, time.thread_time() - started_cpu
        # Torch's threads work and wait together with this one.
        on_cpu = self.preparation.device == "cpu"
        busy_s = cpu_s * torch.get_num_threads() if on_cpu else predictor_s
        results = [self._result(image, None if image.pixels is None else next(poses)) for image in checked]
        return UnitResults(results, predictor_s, busy_s)

    def one_by_one(
        self,
        images: Sequence[LoadedImage],
        leave_out: Callable[[str], bool],
        touch: Callable[[str], None],
        guard: Guard | None = None,
    ) -> UnitResults:
        """The same, image by image.

        Args:
            images: of the unit.
            leave_out: tells of an image's uri that it killed workers and must not be touched again.
            touch: is told the uri of each other image right before it is worked on.
            guard: as above.
        """
        parts = []
        for image in images:
            if leave_out(image.uri):
                parts.append(UnitResults([self._result(_worker_died(image), None)], 0.0, 0.0))
                continue
            touch(image.uri)
            parts.append(self([image], guard))
        return _joined(parts)

    def _check(self, image: LoadedImage) -> LoadedImage:
        """The image, failed if the predictor would refuse it."""
        if image.pixels is None:
            return image
        try:
            self._predictor.plan(image.pixels.shape[:2])
        except ImageError as error:
            return image.failed(error.status, str(error))
        return image

    def _id_of(self, key: str) -> int | None:
        """None, with a warning, where the annotations have two images of the name: its neighbours go on."""
        try:
            return self._image_names.id_of(key)
        except ConfigurationError as error:
            logger.warning("%s; it gets no image id", error)
            return None

    def _result(self, image: LoadedImage, poses: Poses | None) -> ImageResult:
        return ImageResult(
            image_key=image.image_key,
            image_id=self._id_of(image.image_key),
            uri=image.uri,
            width=image.width,
            height=image.height,
            exif_orientation=image.exif_orientation,
            sha256=image.sha256,
            status=image.status,
            error=image.error,
            decode_factor=image.reduction.factor,
            poses=None if poses is None else _in_picture(poses, image.reduction),
        )


def _joined(parts: Sequence[UnitResults]) -> UnitResults:
    return UnitResults(
        [result for part in parts for result in part.results],
        sum(part.predictor_s for part in parts),
        sum(part.busy_s for part in parts),
    )


def _in_picture(poses: Poses, reduction: Reduction) -> Poses:
    """Poses in px of the pixels that were predicted, in px of the image itself."""
    return replace(
        poses,
        keypoints=reduction.to_picture(poses.keypoints).astype(np.float32, copy=False),
        spread_px=poses.spread_px * np.float32(reduction.factor),
    )


def _parts(
    images: Sequence[LoadedImage], reading: ReadOptions, decoded_bytes: int
) -> Iterator[list[LoadedImage]]:
    """The images decoded, in parts: what was encoded takes a bounded number of bytes in each."""
    part: list[LoadedImage] = []
    held_bytes = 0
    for image in images:
        if part and held_bytes + decoded_bytes_of(image, reading) > decoded_bytes:
            yield part
            part, held_bytes = [], 0
        decoded = decode(image, reading)
        if image.encoded is not None and decoded.pixels is not None:
            held_bytes += decoded.pixels.nbytes
        part.append(decoded)
    yield part


def _worker_died(image: LoadedImage) -> LoadedImage:
    if image.status is not ImageStatus.OK:
        return image
    error = "predicting it killed its worker, again and also alone"
    return image.failed(ImageStatus.WORKER_DIED, error)
