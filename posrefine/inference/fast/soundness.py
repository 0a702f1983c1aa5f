"""Weights that would compute NaN are told before a network runs.

Afterwards is too late: the fused ReLUs of oneDNN and cuDNN make 0 of NaN, so a network with a broken layer
answers with finite maps that show nobody.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from posrefine.errors import WeightsError

__all__ = ["check_folded", "check_weights"]


def check_weights(network: nn.Module) -> None:
    """Looks at every tensor of a network once.

    Raises:
        WeightsError: one is not finite, or a batch norm's variance is below zero; it is named.
    """
    for name, value in (*network.named_parameters(), *network.named_buffers()):
        if value.is_floating_point() and not _is_finite(value):
            raise WeightsError(
                f"network: {name} holds NaN or infinity; load weights that are finite before predicting"
            )
        if name.endswith("running_var") and bool((value < 0).any()):
            raise WeightsError(
                f"network: {name} falls to {float(value.min()):g}, but a variance is never below 0; load "
                "weights whose training did not diverge"
            )


def check_folded(weight: Tensor, bias: Tensor, shape: torch.Size) -> None:
    """A convolution after its batch norm has been multiplied into it.

    Raises:
        WeightsError: the product is not finite in float32.
    """
    if not (_is_finite(weight) and _is_finite(bias)):
        raise WeightsError(
            f"network: a convolution of shape {list(shape)} times the batch norm behind it is more than "
            "float32 holds; load weights whose training did not diverge"
        )


def _is_finite(value: Tensor) -> bool:
    """Looks at the extremes alone, which a NaN becomes."""
    if value.numel() == 0:
        return True
    low, high = torch.aminmax(value.detach())
    return bool(torch.isfinite(low) & torch.isfinite(high))
