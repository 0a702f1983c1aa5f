"""Weights that would compute NaN are told before a network runs.

Afterwards is too late: the fused ReLUs of oneDNN and cuDNN make 0 of NaN, so a network with a broken layer
answers with finite maps that show nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from posrefine.errors import WeightsError
from posrefine.modeling.network import PoseNetwork

__all__ = ["check_activations", "check_folded", "check_weights"]

_PROBE_HW = 64, 64


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


@torch.inference_mode()
def check_activations(network: PoseNetwork) -> None:
    """Runs the network once as it is, with ReLUs that keep NaN, on a small image of noise.

    Each weight may be finite, and what a stack of layers makes of them not.

    Raises:
        WeightsError: a layer computes NaN or infinity; it is named.
    """
    noise = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (1, 3, *_PROBE_HW), generator=noise, dtype=torch.uint8)
    device = next(network.parameters()).device
    handles = [
        module.register_forward_hook(_refusing(name))
        for name, module in network.named_modules()
        if not any(module.children())
    ]
    try:
        with _evaluating(network):
            network(network.normalise(pixels.to(device)))
    finally:
        for handle in handles:
            handle.remove()


def _refusing(name: str) -> Callable[[nn.Module, object, object], None]:
    def look(_: nn.Module, __: object, output: object) -> None:
        if isinstance(output, Tensor) and output.is_floating_point() and not _is_finite(output):
            raise WeightsError(
                f"network: {name} computes NaN or infinity; load weights whose training did not diverge"
            )

    return look


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    """In evaluation mode while the block lasts, then as each module was."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


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
