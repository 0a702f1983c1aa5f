"""Where the network runs, and in which number format."""

from __future__ import annotations

from enum import StrEnum

import torch

from posrefine.errors import ConfigurationError
from posrefine.inference.fast.prepare import bfloat16_is_fast

__all__ = ["Precision", "available_device", "choose_dtype", "no_such_device"]


class Precision(StrEnum):
    """Number format of the network's activations; sampling positions, maps and decoding are float32 always.

    `auto` is bfloat16 where the device multiplies that faster (AVX512-BF16, AMX, CUDA from Ampere on), and
    float32 elsewhere.
    """

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    AUTO = "auto"


def available_device(name: str | torch.device) -> torch.device:
    """The device of that name; for `auto` the first GPU, or the CPU where there is none.

    A GPU gets its index, so that it stays the same one whichever is current later.

    Raises:
        ConfigurationError: there is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        device = torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise no_such_device(str(name), str(error).splitlines()[0]) from error
    return device


def no_such_device(name: str, reason: str) -> ConfigurationError:
    """The error of a device that was named and is not there, the same wherever that is found out."""
    others = ", cuda" if name != "cuda" and torch.cuda.is_available() else ""
    return ConfigurationError(f"device {name!r} cannot be used here ({reason}); choose auto, cpu{others}")


def choose_dtype(precision: Precision, device: torch.device) -> torch.dtype:
    """The number format of a network's activations on a device."""
    if precision is Precision.BFLOAT16 or (precision is Precision.AUTO and bfloat16_is_fast(device)):
        return torch.bfloat16
    return torch.float32
