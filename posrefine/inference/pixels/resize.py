"""Which network inputs an image becomes: pure arithmetic on its size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from posrefine.errors import ImageError, ImageStatus
from posrefine.inference.pixels.affine import Affine, input_to_image
from posrefine.test_protocols import TestProtocol

__all__ = ["MAX_INPUT_PIXELS", "ResizePlan", "plan_resize"]

MAX_INPUT_PIXELS = 2**23
"""Default limit of one network input: about 11 GB for dekr_w32 in float32, which takes 1.3 kB for each pixel.
At input size 512 it lets a panorama be 32 times as long as it is high, at scale 2 still 8 times."""


@dataclass(frozen=True)
class ResizePlan:
    """How one image is brought to network inputs. Images with equal `input_hw` can share a batch.

    Attributes:
        image_hw: height and width of the image.
        scales: test scales, the largest first.
        input_hw: for each scale, height and width of the network input.
        input_to_image: for each scale, the map from input px to image px.
    """

    image_hw: tuple[int, int]
    scales: tuple[float, ...]
    input_hw: tuple[tuple[int, int], ...]
    input_to_image: tuple[Affine, ...]

    @property
    def base(self) -> int:
        """Position of scale 1 in the tuples: poses are put together in its input px."""
        return self.scales.index(1.0)

    @property
    def largest_pixels(self) -> int:
        """Pixels of the largest network input."""
        return max(height * width for height, width in self.input_hw)


@lru_cache(maxsize=4096)
def plan_resize(
    image_hw: tuple[int, int],
    input_size: int,
    scales: tuple[float, ...],
    protocol: TestProtocol,
    max_input_pixels: int = MAX_INPUT_PIXELS,
) -> ResizePlan:
    """Plans the network inputs of an image; follows HRNet/DEKR's `resize_align_multi_scale`.

    The short side is resized to `input_size` and the long side by the same factor; the input's long side is
    rounded up to a multiple, and the image lies in its middle between black bars. Other scales multiply both
    sides of the scale-1 input.

    Args:
        image_hw: height and width, image px.
        input_size: short side of the scale-1 input, input px.
        scales: test scales, 1.0 among them.
        protocol: whose rounding.
        max_input_pixels: an image whose largest input would have more pixels is refused, before any memory is
            taken: a strip of 10,000x50 px at input size 512 would be 102,400x512.

    Raises:
        ImageError: the image is empty (`unsupported`), or too long for its height (`too_large`).
    """
    height, width = image_hw
    if height < 1 or width < 1:
        raise ImageError(
            ImageStatus.UNSUPPORTED, f"image of {width}x{height} px: expected at least one pixel each way"
        )
    ordered = tuple(sorted(scales, reverse=True))
    base_hw = _base_input_hw(image_hw, input_size, protocol)
    inputs = tuple((int(base_hw[0] * scale), int(base_hw[1] * scale)) for scale in ordered)
    _check_size(image_hw, inputs[0], input_size, max_input_pixels)
    centre = _centre(image_hw, protocol)
    maps = tuple(input_to_image(centre, _covered_width(image_hw, hw), hw) for hw in inputs)
    return ResizePlan(image_hw, ordered, inputs, maps)


def _base_input_hw(image_hw: tuple[int, int], input_size: int, protocol: TestProtocol) -> tuple[int, int]:
    height, width = image_hw
    short = protocol.padded_px(input_size)
    if width < height:
        return protocol.padded_px(short / width * height), short
    return short, protocol.padded_px(short / height * width)


def _centre(image_hw: tuple[int, int], protocol: TestProtocol) -> tuple[float, float]:
    height, width = image_hw
    if protocol.round_centre:
        return float(int(width / 2 + 0.5)), float(int(height / 2 + 0.5))
    return width / 2, height / 2


def _covered_width(image_hw: tuple[int, int], input_hw: tuple[int, int]) -> float:
    """Width of the part of the plane that the input shows, image px: the scale is that of the short side."""
    height, width = image_hw
    if width < height:
        return float(width)
    return input_hw[1] / input_hw[0] * height


def _check_size(
    image_hw: tuple[int, int], input_hw: tuple[int, int], input_size: int, max_input_pixels: int
) -> None:
    if input_hw[0] * input_hw[1] > max_input_pixels:
        raise ImageError(
            ImageStatus.TOO_LARGE,
            f"image of {image_hw[1]}x{image_hw[0]} px: with its short side at {input_size} px the network "
            f"input would be {input_hw[1]}x{input_hw[0]} px, the limit is {max_input_pixels:,} pixels; crop "
            "or split the image, or choose a smaller input size or smaller scales",
        )
