"""The entries of a checkpoint under our names, as every reader hands them back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor

from posrefine.errors import WeightsError

__all__ = ["Part", "Reading", "misshapen"]


class Part(StrEnum):
    """The module that is to be filled; one file may hold both."""

    POSE = "pose"
    SCORE = "score"


@dataclass(frozen=True)
class Reading:
    """A checkpoint under our own names.

    Attributes:
        format: the reader's name.
        protocol: name of the test-time protocol the weights were trained for.
        tensors: by the network's state-dict names, ready to be copied in.
        not_used: names of the file left out on purpose.
        backbone_only: the file holds no heads; the network's stay as built.
    """

    format: str
    protocol: str
    tensors: Mapping[str, Tensor]
    not_used: tuple[str, ...] = ()
    backbone_only: bool = False


def misshapen(file: str, name: str, tensor: Tensor, wanted: str) -> WeightsError:
    """The error that a tensor, called `name` in the file, cannot be converted for its shape."""
    return WeightsError(
        f"weights {file}: tensor {name} has shape {list(tensor.shape)}, wanted {wanted}; the file is damaged "
        "or of another network: use another copy"
    )
