"""Where prepared layers run, in which number format, and which library convolves there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Protocol

import torch
from torch import Tensor

from posrefine.inference.fast.convolution import (
    CudnnConvolution,
    OneDnnConvolution,
    PlainConvolution,
    WidePointwiseConvolution,
)
from posrefine.inference.fast.folding import FoldedConvolution

__all__ = ["Backend", "Convolution", "Library"]


class Convolution(Protocol):
    """A convolution made ready for a device; ReLU, where there is one, comes last."""

    def __call__(self, x: Tensor) -> Tensor:
        """[B, in, H, W] channels-last to [B, out, H', W'] channels-last."""
        ...

    def onto(self, total: Tensor, x: Tensor) -> Tensor:
        """The sum of `total`, which may be overwritten, and the convolution of x."""
        ...


class Library(StrEnum):
    """Whose convolutions are used."""

    ONEDNN = "oneDNN"
    CUDNN = "cuDNN"
    TORCH = "torch"


@dataclass(frozen=True)
class Backend:
    """Device, number format and library that layers are prepared for.

    Attributes:
        device: where they run.
        dtype: of weights and activations.
        library: whose convolutions they use.
    """

    device: torch.device
    dtype: torch.dtype
    library: Library

    @classmethod
    def of(cls, device: torch.device, dtype: torch.dtype) -> Backend:
        """The backend with the library that fuses most on this device."""
        if device.type == "cpu" and _onednn_has(dtype):
            return cls(device, dtype, Library.ONEDNN)
        if device.type == "cuda" and torch.version.hip is None:
            return cls(device, dtype, Library.CUDNN)
        return cls(device, dtype, Library.TORCH)

    @property
    def exact(self) -> Backend:
        """The same in float32, for layers whose outputs are read as numbers rather than as features."""
        return replace(self, dtype=torch.float32)

    def convolution(self, folded: FoldedConvolution) -> Convolution:
        """A convolution with its weights on the device."""
        if self.library is Library.ONEDNN and WidePointwiseConvolution.fits(folded):
            return WidePointwiseConvolution(folded, self.dtype)
        if self.library is Library.ONEDNN:
            return OneDnnConvolution(folded, self.dtype)
        if self.library is Library.CUDNN:
            return CudnnConvolution(folded, self.dtype, self.device)
        return PlainConvolution(folded, self.dtype, self.device)

    def tensor(self, values: Tensor) -> Tensor:
        """A copy of another layer's weights on the device."""
        return values.detach().to(self.device, self.dtype, copy=True)


def _onednn_has(dtype: torch.dtype) -> bool:
    if not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        return False
    return dtype is torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
