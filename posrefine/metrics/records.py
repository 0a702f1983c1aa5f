"""Values out of JSON records: a number, or a refusal that says whose value was none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from posrefine.errors import ConfigurationError
from posrefine.skeletons import SKELETONS

__all__ = ["int64_of", "numbers", "whose_joints"]

_TITLES = {"coco": "COCO", "crowdpose": "CrowdPose"}


def int64_of(value: object, what: str) -> int:
    """An integer of 64 bits, whole floats included.

    Raises:
        ConfigurationError: it is none; `what` says of what.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    raise ConfigurationError(f"{what} is {value!r:.80}, expected an integer of 64 bits")


def numbers(value: object, what: str) -> NDArray[np.float64]:
    """A number, or a list of them, as an array; null is NaN.

    Raises:
        ConfigurationError: it is none; `what` says of what.
    """
    try:
        return np.asarray(value, np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise ConfigurationError(f"{what} is {value!r:.80}, expected numbers") from error


def whose_joints(count: float, names: Sequence[Any] | None = None) -> str:
    """`, as CrowdPose's annotations have` for 14 joints (with these names, if given); empty where unknown."""
    for name, skeleton in SKELETONS.items():
        if skeleton.num_joints == count and names in (None, [*skeleton.joints]):
            return f" (these are {_TITLES.get(name, name)}'s annotations)"
    return ""
