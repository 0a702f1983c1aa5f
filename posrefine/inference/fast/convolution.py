"""A convolution with bias, addend and ReLU in one pass over memory, by whatever library does that."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from posrefine.inference.fast.folding import FoldedConvolution

__all__ = ["CudnnConvolution", "OneDnnConvolution", "PlainConvolution", "WidePointwiseConvolution"]

FEWEST_WIDE_OUTPUTS = 512


class PlainConvolution:
    """torch's own convolution, for devices without a fused one."""

    def __init__(self, folded: FoldedConvolution, dtype: torch.dtype, device: torch.device) -> None:
        self._weight = folded.weight.to(device, dtype, memory_format=torch.channels_last)
        self._bias = folded.bias.to(device, dtype)
        self._geometry = (folded.stride, folded.padding, folded.dilation, folded.groups)
        self._relu = folded.relu

    def __call__(self, x: Tensor) -> Tensor:
        """[B, in, H, W] channels-last to [B, out, H\', W\'] channels-last."""
        out = F.conv2d(x, self._weight, self._bias, *self._geometry)
        return out.relu_() if self._relu else out

    def onto(self, total: Tensor, x: Tensor) -> Tensor:
        """The sum of `total`, which may be overwritten, and the convolution of x."""
        total += F.conv2d(x, self._weight, self._bias, *self._geometry)
        return total.relu_() if self._relu else total


class OneDnnConvolution:
    """oneDNN's convolution on CPUs, with weights in its own layout and the rest as its post-operations.

    These are the operators that TorchInductor's generated code calls; called directly there is nothing to
    compile.
    """

    def __init__(self, folded: FoldedConvolution, dtype: torch.dtype) -> None:
        self._geometry = (folded.padding, folded.stride, folded.dilation, folded.groups)
        self._weight = torch.ops.mkldnn._reorder_convolution_weight(folded.weight.to(dtype), *self._geometry)
        self._bias = folded.bias.to(dtype)
        self._relu = folded.relu

    def __call__(self, x: Tensor) -> Tensor:
        """[B, in, H, W] channels-last to [B, out, H\', W\'] channels-last."""
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weight, self._bias, *self._geometry, "relu" if self._relu else "none", [], ""
        )
        return out

    def onto(self, total: Tensor, x: Tensor) -> Tensor:
        """The sum of `total`, which may be overwritten, and the convolution of x."""
        relu = "relu" if self._relu else None
        out: Tensor = torch.ops.mkldnn._convolution_pointwise_.binary(
            total, x, self._weight, self._bias, *self._geometry, "add", 1.0, relu, [], None
        )
        return out


class WidePointwiseConvolution(OneDnnConvolution):
    """A 1x1 convolution on CPUs as a product of matrices, where oneDNN's is slow.

    From 512 outputs on, and for many sizes of the input, oneDNN wants its weights in another layout than the
    one that it gave them, and reorders them at every call: 6 to 12 ms instead of 0.3.
    """

    def __init__(self, folded: FoldedConvolution, dtype: torch.dtype) -> None:
        super().__init__(folded, dtype)
        self._matrix = folded.weight.flatten(1).to(dtype)

    @staticmethod
    def fits(folded: FoldedConvolution) -> bool:
        """Whether this convolution is such a one."""
        pointwise = folded.weight.shape[2:] == (1, 1) and set(folded.stride) == {1} and folded.groups == 1
        return pointwise and not folded.relu and len(folded.weight) >= FEWEST_WIDE_OUTPUTS

    def __call__(self, x: Tensor) -> Tensor:
        """[B, in, H, W] channels-last to [B, out, H, W] channels-last."""
        return F.linear(x.permute(0, 2, 3, 1), self._matrix, self._bias).permute(0, 3, 1, 2)


class CudnnConvolution(PlainConvolution):
    """cuDNN's convolution, with bias, addend and ReLU as its epilogue where there is a ReLU."""

    def __call__(self, x: Tensor) -> Tensor:
        """[B, in, H, W] channels-last to [B, out, H\', W\'] channels-last."""
        if not self._relu:
            return super().__call__(x)
        return torch.cudnn_convolution_relu(x, self._weight, self._bias, *self._geometry)

    def onto(self, total: Tensor, x: Tensor) -> Tensor:
        """The sum of `total`, which may be overwritten, and the convolution of x."""
        if not self._relu:
            return super().onto(total, x)
        return torch.cudnn_convolution_add_relu(x, self._weight, total, 1.0, self._bias, *self._geometry)
