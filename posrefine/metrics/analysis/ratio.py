"""A mean over persons or joints of many images, with its interval, from sums that merge."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

__all__ = ["Estimate", "Ratio"]

_Z = 1.959963984540054


class Estimate(BaseModel):
    """A mean of values in 0..1.

    Attributes:
        value: of the mean; None where there was nothing to take it of.
        low: lower bound of the 95% interval.
        high: upper bound.
        count: persons or joints that it is of.
        images: that these are in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float | None
    low: float | None
    high: float | None
    count: int
    images: int


@dataclass(frozen=True)
class Ratio:
    """Sums over images of x, the sum of an image's values (each in 0..1), and n, their number.

    Persons of an image are alike, so images are what was drawn: the variance is that of a ratio over images.
    """

    images: int = 0
    x: float = 0.0
    n: float = 0.0
    xx: float = 0.0
    xn: float = 0.0
    nn: float = 0.0

    @staticmethod
    def of(x: NDArray[np.float64], n: NDArray[np.float64]) -> Ratio:
        """Of images with these sums, [I], and numbers, [I]; those without any value count for nothing."""
        x, n = x[n > 0], n[n > 0]
        return Ratio(len(n), *(float(sums) for sums in (x.sum(), n.sum(), x @ x, x @ n, n @ n)))

    def __add__(self, other: Ratio) -> Ratio:
        return Ratio(
            self.images + other.images,
            self.x + other.x,
            self.n + other.n,
            self.xx + other.xx,
            self.xn + other.xn,
            self.nn + other.nn,
        )

    def estimate(self) -> Estimate:
        """The mean with Wilson's interval for as many independent values as its variance stands for.

        Where all values agree, or there is one image, no variance is known, and images are counted instead.
        """
        if not self.n:
            return Estimate(value=None, low=None, high=None, count=0, images=0)
        p = min(max(self.x / self.n, 0.0), 1.0)
        worth = float(self.images)
        if self.images > 1:
            scatter = max(self.xx - 2 * p * self.xn + p * p * self.nn, 0.0)
            variance = scatter / self.n**2 * self.images / (self.images - 1)
            if variance > 1e-12 * p * (1 - p):
                worth = p * (1 - p) / variance
        spread = _Z * math.sqrt(p * (1 - p) / worth + _Z**2 / (4 * worth**2))
        middle, scale = p + _Z**2 / (2 * worth), 1 + _Z**2 / worth
        # Where all values agree one end is the value itself, and rounding would put it beside that.
        return Estimate(
            value=p,
            low=min(p, max(0.0, (middle - spread) / scale)),
            high=max(p, min(1.0, (middle + spread) / scale)),
            count=round(self.n),
            images=self.images,
        )
