"""Images in, poses out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from posrefine.errors import ConfigurationError, ImageError, ImageStatus, NonFiniteMaps
from posrefine.inference.decoding.decoder import Decoder, Persons
from posrefine.inference.decoding.packed import packed, unpacked
from posrefine.inference.decoding.views import merge_views, mirrored_images
from posrefine.inference.fast.device import Precision, available_device, choose_dtype
from posrefine.inference.fast.host import HostCopy, to_device
from posrefine.inference.fast.network import FastMaps
from posrefine.inference.fast.prepare import Preparation, PreparedNetwork
from posrefine.inference.fast.soundness import check_weights
from posrefine.inference.pixels.batching import equal_sized, micro_batches
from posrefine.inference.pixels.resize import MAX_INPUT_PIXELS, ResizePlan, plan_resize
from posrefine.inference.pixels.warp import warp
from posrefine.inference.settings import check_networks, check_pixels, check_settings
from posrefine.modeling.kept import KeptNetwork
from posrefine.modeling.network import PoseNetwork
from posrefine.modeling.score_net import ScoreNet
from posrefine.photographs import Photograph, is_photograph, pixels_of
from posrefine.poses import Poses
from posrefine.skeletons import Skeleton
from posrefine.test_protocols import TEST_PROTOCOLS, TestProtocol
from posrefine.weights.info import WeightsInfo

__all__ = ["Predictor"]

_BATCH_PIXELS = {"cpu": 2**20, "cuda": 2**23}


class Predictor:
    """Finds persons in images of any sizes, on one device.

    Images whose network inputs have the same size share a batch with their mirrored views; everything from
    decoded pixels to final poses happens on the device.

    A predictor can be pickled, copied and handed to worker processes: network and settings travel, and the
    network is made ready anew for the device that is found there.

    Args:
        model: the network; the predictor keeps its own copy of it.
        input_size: short side of the scale-1 network input, input px. None is the size that the network and
            its weights are made for.
        scales: test scales, 1 among them; the published figures use (1,) or (0.5, 1, 2).
        flip: whether every scale also sees the mirrored image.
        nms_threshold: pose NMS's distance in units of the box diagonal; None is the protocol's (0.05 for one
            scale, 0.15 for several).
        score_net: rescoring network. The OKS that it predicts multiplies a person's score or replaces it, as
            the protocol says.
        device: torch device; `auto` is the first GPU, or the CPU where there is none.
        precision: of the network's activations: `float32`, `bfloat16`, or `auto` for the faster of them here.
            In bfloat16 poses agree with float32's to an object keypoint similarity of 0.99 on average.
        protocol: the code base whose test-time arithmetic the checkpoint was trained for. None is what its
            weights say.
        max_batch_pixels: pixels of the network inputs of one size that are computed at a time, mirrored views
            counted; bounds the memory. None is 1 million on CPUs and 8 million on GPUs.
        max_input_pixels: an image with a larger network input is refused.

    Attributes:
        weights: what is known about the network's weights, where `posrefine.load` has made the predictor.

    Raises:
        ConfigurationError: settings that do not fit each other, the network or the machine.
        WeightsError: a weight is not finite, or a variance is negative; it is named.
    """

    weights: WeightsInfo | None = None

    def __init__(
        self,
        model: PoseNetwork,
        input_size: int | None = None,
        scales: Sequence[float] = (1.0,),
        flip: bool = True,
        nms_threshold: float | None = None,
        score_net: ScoreNet | None = None,
        device: str | torch.device = "cpu",
        precision: str = "auto",
        *,
        protocol: TestProtocol | None = None,
        max_batch_pixels: int | None = None,
        max_input_pixels: int = MAX_INPUT_PIXELS,
    ) -> None:
        check_networks(model, score_net)
        trained_for = model.trained_for
        input_size = trained_for.input_size_px if input_size is None else input_size
        protocol = TEST_PROTOCOLS[trained_for.protocol] if protocol is None else protocol
        check_settings(input_size, scales, flip, nms_threshold, protocol)
        if max_batch_pixels is not None:
            check_pixels("max_batch_pixels", max_batch_pixels)
        check_pixels("max_input_pixels", max_input_pixels)
        self.skeleton: Skeleton = model.skeleton
        self.input_size = input_size
        self.scales = tuple(sorted((float(scale) for scale in scales), reverse=True))
        self.flip = flip
        self.protocol = protocol
        self.device = available_device(device)
        self._network = PreparedNetwork(model, self.device, choose_dtype(_precision(precision), self.device))
        if score_net is not None:
            check_weights(score_net)
        self._decoder = Decoder(
            self.skeleton,
            protocol,
            protocol.nms_threshold(len(self.scales)) if nms_threshold is None else nms_threshold,
            None if score_net is None else copy.deepcopy(score_net).eval().float().to(self.device),
        )
        self._kept = KeptNetwork.of(model), copy.deepcopy(score_net)
        self._settings: dict[str, Any] = {
            "input_size": input_size,
            "scales": self.scales,
            "flip": flip,
            "nms_threshold": nms_threshold,
            "device": device,
            "precision": precision,
            "protocol": protocol,
            "max_batch_pixels": max_batch_pixels,
            "max_input_pixels": max_input_pixels,
        }
        self._max_batch_pixels = max_batch_pixels or _BATCH_PIXELS.get(self.device.type, 2**20)
        self._max_input_pixels = max_input_pixels

    def __reduce__(self) -> tuple[Callable[..., Predictor], tuple[object, ...]]:
        return _made_again, (*self._kept, self._settings, self.weights)

    @property
    def preparation(self) -> Preparation:
        """How the network was made ready for the device."""
        return self._network.preparation

    @property
    def num_views(self) -> int:
        """How many times the network sees an image: scales, times two with the mirrored views."""
        return len(self.scales) * self._views_per_scale

    @property
    def _views_per_scale(self) -> int:
        return 2 if self.flip else 1

    def plan(self, image_hw: tuple[int, int]) -> ResizePlan:
        """The network inputs of an image of this height and width, without reading it.

        Call this first when feeding many images: here an image that cannot be used raises for itself alone,
        inside a call for the whole call.

        Raises:
            ImageError: the image is empty or too long for its height.
        """
        height, width = (int(side) for side in image_hw)
        return plan_resize(
            (height, width), self.input_size, self.scales, self.protocol, self._max_input_pixels
        )

    @overload
    def __call__(self, images: Photograph) -> Poses: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, images: Sequence[Photograph]) -> list[Poses]: ...

    def __call__(self, images: Photograph | Sequence[Photograph]) -> Poses | list[Poses]:
        """Finds the persons in one photograph or in each of several.

        Files and Pillow images are turned upright by their EXIF orientation first, and poses are in px of the
        upright image; arrays are taken as they are.

        Args:
            images: a path, a Pillow image or [H, W, 3] uint8 RGB; or a sequence of them, of any sizes, also
                mixed, empty, or [B, H, W, 3] uint8.

        Returns:
            `Poses` for one photograph. For a sequence a list of them, in the same order.

        Raises:
            ImageError: an image is missing, broken or cannot be used; nothing has been computed then.
            NonFiniteMaps: the network computed NaN or infinity for an image.
        """
        if is_photograph(images):
            return self._found([pixels_of(images)])[0]  # type: ignore[arg-type]
        return self._found(
            [
                pixels_of(image, f"image {position} of the call")
                for position, image in enumerate(_several(images))
            ]
        )

    @torch.inference_mode()
    def _found(self, images: Sequence[NDArray[np.uint8]]) -> list[Poses]:
        plans = [self._checked_plan(position, image) for position, image in enumerate(images)]
        results: dict[int, Poses] = {}
        waiting: tuple[list[int], HostCopy] | None = None
        # The device computes a batch while the results of the one before are picked up.
        for batch in micro_batches(plans, self._views_per_scale, self._max_batch_pixels):
            submitted = batch, HostCopy(packed(self._persons(batch, images, plans)))
            if waiting is not None:
                results.update(self._collect(*waiting))
            waiting = submitted
        if waiting is not None:
            results.update(self._collect(*waiting))
        return [results[position] for position in range(len(images))]

    def _checked_plan(self, position: int, image: NDArray[np.uint8]) -> ResizePlan:
        try:
            return self.plan(image.shape[:2])
        except ImageError as error:
            raise ImageError(error.status, f"image {position} of the call: {error}") from error

    def _persons(
        self, batch: list[int], images: Sequence[NDArray[np.uint8]], plans: Sequence[ResizePlan]
    ) -> Persons:
        plan = plans[batch[0]]
        inputs = self._inputs(batch, images, plans)
        maps = []
        for scale, pixels in zip(self.scales, inputs, strict=True):
            views = torch.cat([pixels, mirrored_images(pixels, self.protocol)]) if self.flip else pixels
            seen = self._run(views)
            offsets = self._network.offsets(seen)
            maps.append(
                merge_views(scale, seen.heatmap, offsets, self.skeleton, self.protocol, flip=self.flip)
            )
        to_image = np.array([plans[index].input_to_image[plan.base] for index in batch], np.float32)
        return self._decoder(maps, plan.input_hw[plan.base], to_device(to_image, self.device))

    def _run(self, views: Tensor) -> FastMaps:
        """The network on all views, one by one where a single image is more than the memory is meant for."""
        at_once = max(1, self._max_batch_pixels // views[0, 0].numel())
        if at_once >= len(views):
            return self._network(views)
        parts = [self._network(part) for part in torch.split(views, at_once)]
        return FastMaps(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))

    def _inputs(
        self, batch: list[int], images: Sequence[NDArray[np.uint8]], plans: Sequence[ResizePlan]
    ) -> list[Tensor]:
        """For each scale the warped images, [B, 3, *input_hw] uint8 on the device, in the batch's order."""
        warped: list[list[Tensor]] = [[] for _ in self.scales]
        for group in equal_sized(batch, plans):
            plan = plans[group[0]]
            pixels = to_device(np.stack([images[index] for index in group]), self.device)
            for inputs, affine, hw in zip(warped, plan.input_to_image, plan.input_hw, strict=True):
                inputs.append(warp(pixels, affine, hw))
        return [torch.cat(inputs) for inputs in warped]

    def _collect(self, batch: list[int], results: HostCopy) -> dict[int, Poses]:
        persons = results.numpy()
        for position, rows in zip(batch, persons, strict=True):
            if np.isnan(rows[:, -1]).any():
                raise NonFiniteMaps(
                    f"image {position} of the call: the network computed NaN or infinity in "
                    f"{self.preparation.form}, so nothing is known about its persons; use weights whose "
                    "training did not diverge, or precision float32"
                )
        return dict(zip(batch, unpacked(persons, self.skeleton), strict=True))


def _several(images: object) -> Sequence[Photograph]:
    if isinstance(images, np.ndarray) and images.ndim != 4:
        pixels_of(images)  # says what is wanted
    if not isinstance(images, Sequence | np.ndarray):
        raise ImageError(
            ImageStatus.UNSUPPORTED,
            f"expected a path, a Pillow image, a [H, W, 3] uint8 RGB array or a sequence of them, got a "
            f"{type(images).__name__}",
        )
    return images  # type: ignore[return-value]


def _made_again(
    network: KeptNetwork, score_net: ScoreNet | None, settings: dict[str, Any], weights: WeightsInfo | None
) -> Predictor:
    predictor = Predictor(network.network(), score_net=score_net, **settings)
    predictor.weights = weights
    return predictor


def _precision(name: str) -> Precision:
    try:
        return Precision(name)
    except ValueError:
        raise ConfigurationError(f"precision is {name!r}, expected one of {', '.join(Precision)}") from None
