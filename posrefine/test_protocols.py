"""The test-time switches that belong to where a checkpoint was trained.

The published figures of a checkpoint were measured with its own code base's protocol. Sources: HRNet/DEKR's
`valid.py`, `core/inference.py` and `core/nms.py`; mmpose v1's `BottomupResize`, `DEKRHead.predict` and
`SPR.decode`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar

__all__ = [
    "MMPOSE",
    "OFFICIAL",
    "POSREFINE",
    "STRIDE",
    "TEST_PROTOCOLS",
    "FlipAlignment",
    "HeatSampling",
    "NmsOrder",
    "RescoreInputs",
    "TestProtocol",
]

STRIDE = 4
"""Input px per heatmap cell."""


class FlipAlignment(StrEnum):
    """How the mirrored view is brought onto the straight one, which it misses by STRIDE - 1 input px."""

    SHIFT_IMAGE = "shift_image"
    """The mirrored image moves left by STRIDE - 1 px before the network sees it."""
    SHIFT_HEATMAP = "shift_heatmap"
    """The mirrored heatmap moves right by one cell, mirrored positions by (STRIDE - 1) / STRIDE cells."""


class HeatSampling(StrEnum):
    """Where the heat of a joint is read."""

    UPSAMPLED = "upsampled"
    """At the whole pixel below the joint, in the mean of the heatmaps enlarged to the scale-1 input."""
    QUARTER = "quarter"
    """Bilinearly in the heatmap itself, with mmpose's mix of corner conventions."""


class NmsOrder(StrEnum):
    """In which order pose NMS visits the proposals."""

    PROPOSALS = "proposals"
    """Scale by scale, the largest first, by centre score."""
    HEAT = "heat"
    """By mean heat over the joints."""
    SCORE = "score"
    """By score, times the trust in the size that the person has in the proposal's own view."""


class RescoreInputs(StrEnum):
    """Frame and scores of the keypoints that the score network reads."""

    IMAGE_AND_JOINT_SCORES = "image_and_joint_scores"
    """Joints in image px and joint scores."""
    INPUT_AND_HEAT = "input_and_heat"
    """Joints in input px and the heat alone; the predicted OKS multiplies joint scores too."""


@dataclass(frozen=True)
class TestProtocol:
    """One code base's way from an image to poses.

    Attributes:
        name: what a checkpoint's record calls it.
        pad_multiple: the sides of the scale-1 input are multiples of it, input px.
        drop_fraction: the long side loses its fraction of a pixel before it is rounded up to a multiple.
        round_centre: the image's centre is rounded to a whole pixel before it meets the input's centre.
        flip_alignment: how the mirrored view is aligned.
        pool_kernel: window in which a centre must be the maximum, heatmap cells; None grows it with the map.
        heat_sampling: where the heat of a joint is read.
        nms_order: in which order pose NMS visits the proposals.
        rescore_inputs: what the score network is shown.
        multi_scale: whether the protocol is defined for several test scales.
        draw_to_heat: whether joints are drawn to the heat around them (`refinement`).
        oks_is_score: whether the OKS that a score network predicts is the person's score, rather than a
            factor of it.
        known_size_px: diagonal of a person's box, input px of a view, at which the view is trusted most
            (`size_trust`); None trusts all views alike.
        centre_threshold: centres need more than this.
        max_persons: proposals of a scale, and persons of an image, at most.
        nms_threshold_single: for one test scale, pose NMS's distance in units of the box diagonal.
        nms_threshold_multi: the same for several.
    """

    __test__: ClassVar[bool] = False
    """For pytest, which takes classes of such names for tests."""

    name: str
    pad_multiple: int
    drop_fraction: bool
    round_centre: bool
    flip_alignment: FlipAlignment
    pool_kernel: int | None
    heat_sampling: HeatSampling
    nms_order: NmsOrder
    rescore_inputs: RescoreInputs
    multi_scale: bool
    draw_to_heat: bool = False
    oks_is_score: bool = False
    known_size_px: float | None = None
    centre_threshold: float = 0.01
    max_persons: int = 30
    nms_threshold_single: float = 0.05
    nms_threshold_multi: float = 0.15

    def padded_px(self, length_px: float) -> int:
        """The input side that holds a resized side of this length, input px."""
        if self.drop_fraction:
            return int((length_px + self.pad_multiple - 1) // self.pad_multiple) * self.pad_multiple
        return math.ceil(length_px / self.pad_multiple) * self.pad_multiple

    def centre_kernel(self, height: int, width: int) -> int:
        """Pooling window for a centre heatmap of that many cells."""
        if self.pool_kernel is not None:
            return self.pool_kernel
        mean_side = (height + width) / 2
        if mean_side > 300:
            return 7
        return 5 if mean_side > 200 else 3

    def nms_threshold(self, num_scales: int) -> float:
        """Pose NMS's distance for that many test scales, in units of the box diagonal."""
        return self.nms_threshold_single if num_scales == 1 else self.nms_threshold_multi


OFFICIAL = TestProtocol(
    name="official",
    pad_multiple=64,
    drop_fraction=True,
    round_centre=True,
    flip_alignment=FlipAlignment.SHIFT_IMAGE,
    pool_kernel=None,
    heat_sampling=HeatSampling.UPSAMPLED,
    nms_order=NmsOrder.PROPOSALS,
    rescore_inputs=RescoreInputs.IMAGE_AND_JOINT_SCORES,
    multi_scale=True,
)

MMPOSE = TestProtocol(
    name="mmpose",
    pad_multiple=32,
    drop_fraction=False,
    round_centre=False,
    flip_alignment=FlipAlignment.SHIFT_HEATMAP,
    pool_kernel=5,
    heat_sampling=HeatSampling.QUARTER,
    nms_order=NmsOrder.HEAT,
    rescore_inputs=RescoreInputs.INPUT_AND_HEAT,
    multi_scale=False,
)

POSREFINE = replace(
    OFFICIAL,
    name="posrefine",
    nms_order=NmsOrder.SCORE,
    draw_to_heat=True,
    oks_is_score=True,
    known_size_px=150.0,
    nms_threshold_multi=0.08,
)
"""DEKR's, for networks that are far from trained to the end.

Joints are drawn to the heat around them. A predicted OKS stands alone: the score network has seen the joints'
heat, and multiplying by it once more made the order of persons worse. A network knows persons best in some
size: the test scales that show a person near it say the more of its heat, and of the proposals of one person
the one stands that has the best score in a view of that size. Then pose NMS need not reach as far.
"""

TEST_PROTOCOLS: dict[str, TestProtocol] = {
    protocol.name: protocol for protocol in (OFFICIAL, MMPOSE, POSREFINE)
}
"""By the name that a checkpoint's record holds."""
