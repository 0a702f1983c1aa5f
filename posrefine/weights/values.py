"""Whether the numbers of a tensor can be what a network computes with."""

from __future__ import annotations

import torch
from torch import Tensor

from posrefine.errors import WeightsError

__all__ = ["as_in_module"]

_VARIANCE = "running_var"


def as_in_module(key: str, value: Tensor, own: Tensor, file: str) -> Tensor:
    """The tensor in the number format and on the device of the module's.

    Args:
        key: the module's name of it, for messages.
        value: a plain tensor of the module's shape.
        own: what the module holds there.
        file: what to call the file in messages.

    Raises:
        WeightsError: the values are integers where weights are wanted, not finite, infinite in the module's
            format, or a variance below zero, of which a square root will be taken.
    """
    where = f"weights {file}: tensor {key}"
    if own.is_floating_point() and not value.is_floating_point() and not _is_grid(key):
        raise WeightsError(
            f"{where} holds {_type(value)}, the network wants {_type(own)}; weights that were quantized or "
            "rounded to integers cannot be used: save the network in floating point"
        )
    if value.numel() == 0:
        return value.to(own)
    # The extremes alone are looked at, which a NaN becomes: one pass without a mask as large as the tensor.
    low, high = torch.aminmax(value)
    if value.is_floating_point() and not bool(torch.isfinite(low) & torch.isfinite(high)):
        raise WeightsError(
            f"{where} holds NaN or infinity; the training run diverged or the file is damaged: use an "
            "earlier checkpoint"
        )
    if not _fit_into(own.dtype, low, high):
        reach = max(low.item(), high.item(), key=abs)
        raise WeightsError(
            f"{where} reaches {reach:g}, too much for the network's {_type(own)}: load it into a network of "
            "a wider type, or use an earlier checkpoint"
        )
    if key.rpartition(".")[2] == _VARIANCE and low < 0:
        raise WeightsError(
            f"{where} falls to {low.item():g}; a variance is never below 0, and its square root would make "
            "every map NaN: the file is damaged, use another copy or an earlier checkpoint"
        )
    return value.to(own)


def _is_grid(key: str) -> bool:
    # DEKR's sampling grid is whole numbers; it is compared, not computed with.
    return key.endswith("regular_matrix")


def _fit_into(dtype: torch.dtype, low: Tensor, high: Tensor) -> bool:
    """Whether the cast, which keeps the order of numbers, leaves the extremes what they are."""
    if dtype.is_floating_point:
        return bool(torch.isfinite(low.to(dtype)) & torch.isfinite(high.to(dtype)))
    limits = torch.iinfo(dtype)
    # As Python's numbers, which compare exactly; the upper limit itself is no float.
    return bool(limits.min <= low.item() and high.item() < limits.max)


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
