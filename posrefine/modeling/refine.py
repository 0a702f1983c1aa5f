"""Where DCM and HSM stand on a branch, together or one at a time.

| dcm | hsm | block                                                                |
|-----|-----|----------------------------------------------------------------------|
| no  | no  | nothing: DEKR                                                        |
| yes | no  | x + g * DCM(norm(x))                                                 |
| no  | yes | HSM whose context is plain cascaded dilated convolutions             |
| yes | yes | HSM whose context is DCM: the paper's "DCM, then HSM", PosRefine     |

With g = 0 each returns its input, bit for bit: a network that starts from a DEKR checkpoint starts as DEKR.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from posrefine.modeling.dcm import DilatedConvolutionModule
from posrefine.modeling.hsm import CascadedContext, ChannelNorm, Gain, HybridSelfAttention

__all__ = ["RefineSpec", "refine_block"]


@dataclass(frozen=True)
class RefineSpec:
    """Which context modules a network has on each of its four branches.

    Attributes:
        dcm: has dilated convolution modules.
        hsm: has hybrid self-attention modules.
        gain: initial value of the gains, near 0 to start from a checkpoint, larger to start from scratch.
    """

    dcm: bool
    hsm: bool
    gain: float = 1e-6


def refine_block(channels: int, spec: RefineSpec) -> nn.Module:
    """The block for one branch of `channels` channels; [B, C, H, W] to the same shape."""
    if spec.hsm:
        context = DilatedConvolutionModule(channels) if spec.dcm else CascadedContext(channels)
        return HybridSelfAttention(channels=channels, context=context, gain=spec.gain)
    if spec.dcm:
        return GainedDCM(channels, spec.gain)
    return nn.Identity()


class GainedDCM(nn.Module):
    """DCM alone behind a per-channel gain."""

    def __init__(self, channels: int, gain: float) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.context = DilatedConvolutionModule(channels)
        self.gain = Gain(channels, gain)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.gain(self.context(self.norm(x)))  # type: ignore[no-any-return]
