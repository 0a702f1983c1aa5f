"""Whether one set of values lies higher or lower than another by more than chance: of histograms alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

__all__ = ["Shift", "rank_test", "two_sided"]

# Of values outside the most frequent bin, as chance would have it: with fewer the ranks' sum is not normal.
_LEAST_EXPECTED = 10.0


@dataclass(frozen=True)
class Shift:
    """How two sets of values differ.

    Attributes:
        superiority: chance that a value of the one is above a value of the other, ties counted half; 0.5
            where neither lies higher.
        z: the difference in standard errors.
    """

    superiority: float
    z: float


def rank_test(now: Sequence[int], before: Sequence[int]) -> Shift | None:
    """Mann and Whitney's test with ties, values being known by bin; with two bins Fisher's exact one.

    Args:
        now: numbers of values by bin, of the one.
        before: of the other, in the same bins.

    Returns:
        None where there are too few values to tell anything.
    """
    one, other = np.asarray(now, np.float64), np.asarray(before, np.float64)
    n, m = one.sum(), other.sum()
    if not n or not m:
        return None
    both = one + other
    if both.max() == n + m:
        return None
    lower = np.cumsum(other) - other
    superiority = float((one * (lower + other / 2)).sum() / (n * m))
    if len(both) == 2:
        return Shift(superiority, _exact_z(int(one[1]), int(n), int(both[1]), int(n + m)))
    if min(n, m) * (1 - both.max() / (n + m)) < _LEAST_EXPECTED:
        return None
    total = n + m
    variance = (total + 1 - (both**3 - both).sum() / (total * (total - 1))) / (12 * n * m)
    return Shift(superiority, (superiority - 0.5) / math.sqrt(variance))


def two_sided(z: float) -> float:
    """The probability that chance alone is so far out."""
    return math.erfc(abs(z) / math.sqrt(2))


def _exact_z(hits: int, drawn: int, all_hits: int, everything: int) -> float:
    """What stands in a normal distribution where this number of hits stands in the hypergeometric one."""
    step = 1 if hits * everything > drawn * all_hits else -1
    tail = _tail(hits, drawn, all_hits, everything, step)
    return -step * NormalDist().inv_cdf(min(max(tail, 1e-300), 0.5))


def _tail(hits: int, drawn: int, all_hits: int, everything: int, step: int) -> float:
    """Probability of so many hits or more (step 1), or fewer (step -1), away from the mean."""
    first, last = max(0, drawn - (everything - all_hits)), min(drawn, all_hits)
    total, k = 0.0, hits
    while first <= k <= last:
        term = math.exp(
            _choices(all_hits, k) + _choices(everything - all_hits, drawn - k) - _choices(everything, drawn)
        )
        total += term
        # They fall, and the rest of them is nothing.
        if term < total * 1e-12:
            break
        k += step
    return total


def _choices(n: int, k: int) -> float:
    """Logarithm of the number of ways to choose k of n."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
