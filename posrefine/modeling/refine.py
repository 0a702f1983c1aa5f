"""What PosRefine adds to a branch: DCM, then HSM's two parts, one after another.

1. x = x + g0 * DCM(norm(x))
2. x = x + g1 * HybridSelfAttention(norm(x))
3. x = x + g2 * GatedMLP(norm(x))

DCM is the first line, HSM the others; either may be left out, for ablations, and DEKR has neither. With all g
= 0 the input is returned, bit for bit: a network that starts from a DEKR checkpoint starts as DEKR.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from posrefine.modeling.dcm import DilatedConvolutionModule
from posrefine.modeling.hsm import GatedMLP, HybridSelfAttention
from posrefine.modeling.residual import GainedResidual

__all__ = ["RefineSpec", "refine_block"]


@dataclass(frozen=True)
class RefineSpec:
    """Which context modules a network has on each of its four branches.

    Attributes:
        dcm: has dilated convolution modules.
        hsm: has hybrid self-attention modules.
        gain: initial value of the gains, near 0 to start from a checkpoint, larger to start from scratch.
        mlp_ratio: how many times wider than its branch HSM's MLP is inside.
    """

    dcm: bool
    hsm: bool
    gain: float = 1e-6
    mlp_ratio: int = 2


def refine_block(channels: int, reduction: int, spec: RefineSpec) -> nn.Sequential:
    """The context modules of one branch; [B, C, H, W] to the same shape.

    Args:
        channels: C.
        reduction: cells of this branch along one of the coarsest branch, onto whose grid attention reduces
            its keys; H and W must be multiples of it.
        spec: which modules.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if spec.dcm:
        parts["dcm"] = DilatedConvolutionModule(channels)
    if spec.hsm:
        parts["attention"] = HybridSelfAttention(channels, reduction)
        parts["mlp"] = GatedMLP(channels, spec.mlp_ratio)
    return nn.Sequential(
        OrderedDict((name, GainedResidual(channels, inner, spec.gain)) for name, inner in parts.items())
    )
