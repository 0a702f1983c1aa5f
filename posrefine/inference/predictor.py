"""Images in, poses out."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from posrefine.errors import ConfigurationError, ImageError, ImageStatus
from posrefine.inference.batching import equal_sized, micro_batches
from posrefine.inference.decode import Decoder, Persons
from posrefine.inference.device import Precision, available_device, choose_dtype
from posrefine.inference.fast.network import FastMaps
from posrefine.inference.fast.prepare import Preparation, PreparedNetwork
from posrefine.inference.host import HostCopy, to_device
from posrefine.inference.poses import Poses
from posrefine.inference.protocol import OFFICIAL, Protocol
from posrefine.inference.resize import MAX_INPUT_PIXELS, ResizePlan, plan_resize
from posrefine.inference.views import merge_views, mirrored_images
from posrefine.inference.warp import warp
from posrefine.modeling.network import PoseNetwork
from posrefine.modeling.score_net import ScoreNet
from posrefine.skeletons import Skeleton

__all__ = ["Predictor"]

_NETWORK_MULTIPLE = 32
_BATCH_PIXELS = {"cpu": 2**20, "cuda": 2**23}


class Predictor:
    """Finds persons in images of any sizes, on one device.

    Images whose network inputs have the same size share a batch with their mirrored views; everything from
    decoded pixels to final poses happens on the device.

    Args:
        model: the network; the predictor keeps its own copy of it.
        input_size: short side of the scale-1 network input, input px.
        scales: test scales, 1 among them; the published figures use (1,) or (0.5, 1, 2).
        flip: whether every scale also sees the mirrored image.
        nms_threshold: pose NMS's distance in units of the box diagonal; None is the protocol's (0.05 for one
            scale, 0.15 for several).
        score_net: rescoring network. The OKS that it predicts multiplies a person's score or replaces it, as
            the protocol says.
        device: torch device.
        precision: of the network's activations: `float32`, `bfloat16`, or `auto` for the faster of them here.
            In bfloat16 poses agree with float32's to an object keypoint similarity of 0.99 on average.
        protocol: the code base whose test-time arithmetic the checkpoint was trained for.
        max_batch_pixels: pixels of the network inputs of one size that are computed at a time, mirrored views
            counted; bounds the memory. None is 1 million on CPUs and 8 million on GPUs.
        max_input_pixels: an image with a larger network input is refused.

    Raises:
        ConfigurationError: settings that do not fit each other, the network or the machine.
    """

    def __init__(
        self,
        model: PoseNetwork,
        input_size: int = 512,
        scales: Sequence[float] = (1.0,),
        flip: bool = True,
        nms_threshold: float | None = None,
        score_net: ScoreNet | None = None,
        device: str | torch.device = "cpu",
        precision: str = "auto",
        *,
        protocol: Protocol = OFFICIAL,
        max_batch_pixels: int | None = None,
        max_input_pixels: int = MAX_INPUT_PIXELS,
    ) -> None:
        _check_settings(input_size, scales, nms_threshold, protocol)
        _check_positive("max_batch_pixels", max_batch_pixels)
        _check_positive("max_input_pixels", max_input_pixels)
        if score_net is not None and score_net.skeleton != model.skeleton:
            raise ConfigurationError(
                f"the score network is for the skeleton {score_net.skeleton.name}, the pose network for "
                f"{model.skeleton.name}; load the score network of the same data set"
            )
        self.skeleton: Skeleton = model.skeleton
        self.input_size = input_size
        self.scales = tuple(sorted((float(scale) for scale in scales), reverse=True))
        self.flip = flip
        self.protocol = protocol
        self.device = available_device(device)
        self._network = PreparedNetwork(model, self.device, choose_dtype(_precision(precision), self.device))
        self._decoder = Decoder(
            self.skeleton,
            protocol,
            protocol.nms_threshold(len(self.scales)) if nms_threshold is None else nms_threshold,
            None if score_net is None else copy.deepcopy(score_net).eval().float().to(self.device),
        )
        self._max_batch_pixels = max_batch_pixels or _BATCH_PIXELS.get(self.device.type, 2**20)
        self._max_input_pixels = max_input_pixels

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

        Whoever feeds many images asks this first: an image that cannot be used is then one image's error,
        while inside a call it fails the call.

        Raises:
            ImageError: the image is empty or too long for its height.
        """
        height, width = (int(side) for side in image_hw)
        return plan_resize(
            (height, width), self.input_size, self.scales, self.protocol, self._max_input_pixels
        )

    @torch.inference_mode()
    def __call__(self, images: Sequence[NDArray[np.uint8]]) -> list[Poses]:
        """Finds the persons in each image.

        Args:
            images: [H, W, 3] uint8 RGB each, of any sizes; an empty sequence is fine.

        Returns:
            One `Poses` per image, in the same order.

        Raises:
            ImageError: an image cannot be used; nothing has been computed then.
        """
        plans = [self._checked_plan(position, image) for position, image in enumerate(images)]
        results: dict[int, Poses] = {}
        waiting: tuple[list[int], HostCopy] | None = None
        # The device computes a batch while the results of the one before are picked up.
        for batch in micro_batches(plans, self._views_per_scale, self._max_batch_pixels):
            submitted = batch, HostCopy(_packed(self._persons(batch, images, plans)))
            if waiting is not None:
                results.update(self._collect(*waiting))
            waiting = submitted
        if waiting is not None:
            results.update(self._collect(*waiting))
        return [results[position] for position in range(len(images))]

    def _checked_plan(self, position: int, image: NDArray[np.uint8]) -> ResizePlan:
        _check_image(position, image)
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

    def _collect(self, batch: list[int], packed: HostCopy) -> dict[int, Poses]:
        return dict(zip(batch, _unpacked(packed.numpy(), self.skeleton.num_joints), strict=True))


def _packed(persons: Persons) -> Tensor:
    """[B, N, 4K + 2] float32: all that leaves the device, in one tensor."""
    found = persons.found.unsqueeze(-1).float()
    return torch.cat(
        [
            persons.keypoints.flatten(2),
            persons.keypoint_scores,
            persons.spread_px,
            persons.scores.unsqueeze(-1),
            found,
        ],
        dim=-1,
    )


def _unpacked(packed: NDArray[np.float32], joints: int) -> list[Poses]:
    poses = []
    for rows in packed:
        rows = rows[rows[:, -1] > 0]
        keypoints, keypoint_scores, spread, scores, _ = np.split(
            rows, [2 * joints, 3 * joints, 4 * joints, 4 * joints + 1], axis=1
        )
        poses.append(Poses(keypoints.reshape(-1, joints, 2), keypoint_scores, scores[:, 0], spread))
    return poses


def _check_image(position: int, image: object) -> None:
    if not isinstance(image, np.ndarray):
        found = type(image).__name__
    elif image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{list(image.shape)} {image.dtype}"
    else:
        return
    raise ImageError(
        ImageStatus.UNSUPPORTED,
        f"image {position} of the call: expected a [H, W, 3] uint8 RGB array, got {found}; convert it first, "
        'for instance with Pillow\'s `image.convert("RGB")`',
    )


def _check_settings(
    input_size: int, scales: Sequence[float], nms_threshold: float | None, protocol: Protocol
) -> None:
    _check_positive("input_size", input_size)
    if 1.0 not in scales or len(set(scales)) != len(scales):
        raise ConfigurationError(f"scales are {tuple(scales)}, expected different numbers with 1 among them")
    if len(scales) > 1 and not protocol.multi_scale:
        raise ConfigurationError(
            f"scales are {tuple(scales)}, but the protocol {protocol.name} is defined for one scale; use "
            "scales=(1.0,), or the protocol official"
        )
    for scale in scales:
        side = scale * protocol.pad_multiple
        if side <= 0 or side % _NETWORK_MULTIPLE:
            raise ConfigurationError(
                f"scale {scale} makes inputs of multiples of {side:g} px; the network takes multiples of "
                f"{_NETWORK_MULTIPLE} px, so choose among 0.5, 1, 1.5, 2, ..."
            )
    if nms_threshold is not None and not 0 <= nms_threshold <= 1:
        raise ConfigurationError(f"nms_threshold is {nms_threshold}, expected a share of the box, 0 to 1")


def _check_positive(name: str, pixels: int | None) -> None:
    if pixels is not None and pixels < 1:
        raise ConfigurationError(f"{name} is {pixels}, expected a positive number of pixels")


def _precision(name: str) -> Precision:
    try:
        return Precision(name)
    except ValueError:
        raise ConfigurationError(f"precision is {name!r}, expected one of {', '.join(Precision)}") from None
