"""Rules of the two benchmarks: tolerances, thresholds, object sizes, detections per image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from posrefine.errors import ConfigurationError
from posrefine.skeletons import COCO, CROWDPOSE, Skeleton

__all__ = ["OKS_RULES", "PERSON_SIZES", "AreaRange", "OksRules", "oks_rules"]


@dataclass(frozen=True)
class AreaRange:
    """Persons whose area lies outside [low, high] (square px) are ignored, neither found nor missed."""

    name: str
    low_px2: float
    high_px2: float


_AREA_RANGES = (
    AreaRange("all", 0.0, 1e5**2),
    AreaRange("medium", 32.0**2, 96.0**2),
    AreaRange("large", 96.0**2, 1e5**2),
)

PERSON_SIZES = (
    AreaRange("small", 0.0, 32.0**2),
    AreaRange("medium", 32.0**2, 96.0**2),
    AreaRange("large", 96.0**2, np.inf),
)
"""COCO's three sizes, for telling persons apart by size where nobody is left out."""


@dataclass(frozen=True)
class OksRules:
    """One benchmark's rules.

    Attributes:
        name: `coco` or `crowdpose`.
        skeleton: joints, in the order of the annotation files.
        box_area_share: None where annotations carry the segment's `area`; else the share of the box's w*h
            that stands for it, in OKS and in the area ranges alike.
        area_ranges: the first one is `all`.
        max_detections: per image, the best scores first.
        joints: positions of those that OKS is the mean of; None: all of the skeleton's.
    """

    name: str
    skeleton: Skeleton
    box_area_share: float | None
    area_ranges: tuple[AreaRange, ...] = _AREA_RANGES
    max_detections: int = 20
    joints: tuple[int, ...] | None = None

    @property
    def oks_thresholds(self) -> NDArray[np.float64]:
        """[10] .50, .55, … .95, the very floating-point numbers of the reference tools."""
        return np.linspace(0.5, 0.95, 10)

    @property
    def recall_thresholds(self) -> NDArray[np.float64]:
        """[101] 0, .01, … 1, where precision is read off."""
        return np.linspace(0.0, 1.0, 101)

    @property
    def sigmas(self) -> NDArray[np.float64]:
        """[K] of the joints that count, as the reference tools round them.

        They write tenths and divide by ten, which differs from the decimal literal in the last bit for some
        joints; equality to the last digit needs their bits.
        """
        rounded: NDArray[np.float64] = np.round(np.array(self.skeleton.sigmas) * 10.0, 2) / 10.0
        return rounded if self.joints is None else rounded[list(self.joints)]


OKS_RULES: dict[str, OksRules] = {
    "coco": OksRules("coco", COCO, box_area_share=None),
    "crowdpose": OksRules("crowdpose", CROWDPOSE, box_area_share=0.53),
}


def oks_rules(name: str) -> OksRules:
    """The rules of `coco` or `crowdpose`; ConfigurationError for any other name."""
    if name not in OKS_RULES:
        raise ConfigurationError(f"protocol {name!r} is unknown; choose one of {', '.join(OKS_RULES)}")
    return OKS_RULES[name]
