"""Convolutions with the batch norm behind them multiplied into their weights."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from posrefine.inference.fast.soundness import check_folded

__all__ = ["FoldedConvolution", "fold", "norm_factors"]


@dataclass(frozen=True)
class FoldedConvolution:
    """A convolution with bias, optionally followed by ReLU.

    Attributes:
        weight: [out, in / groups, kernel height, kernel width] float32.
        bias: [out] float32.
        stride: of rows and columns; likewise `padding` and `dilation`.
        padding: zeros added on each side.
        dilation: distance of taps.
        groups: of channels.
        relu: whether ReLU follows.
    """

    weight: Tensor
    bias: Tensor
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    relu: bool = False

    def scaled(self, factor: Tensor) -> FoldedConvolution:
        """With every output channel multiplied by `factor` [out]; not for one with ReLU."""
        assert not self.relu
        return replace(self, weight=self.weight * factor.view(-1, 1, 1, 1), bias=self.bias * factor)

    def without_relu(self) -> FoldedConvolution:
        """The same convolution without ReLU."""
        return replace(self, relu=False)

    def inputs(self, start: int, stop: int) -> FoldedConvolution:
        """The part for input channels `start` to `stop`; the bias goes to the part that starts at 0."""
        bias = self.bias if start == 0 else torch.zeros_like(self.bias)
        return replace(self, weight=self.weight[:, start:stop], bias=bias)

    def dense(self) -> FoldedConvolution:
        """A grouped one as an ordinary convolution whose other weights are zero."""
        parts = [self.group(index).weight.flatten(1) for index in range(self.groups)]
        weight = torch.block_diag(
            *parts
        ).view(  # type: ignore[no-untyped-call]
            len(self.weight), -1, *self.weight.shape[2:]
        )
        return replace(self, weight=weight, groups=1)

    def group(self, index: int) -> FoldedConvolution:
        """One group of a grouped convolution, on that group's channels."""
        rows = self.weight.shape[0] // self.groups
        part = slice(index * rows, (index + 1) * rows)
        return replace(self, weight=self.weight[part], bias=self.bias[part], groups=1)


def fold(
    convolution: nn.Conv2d, norm: nn.BatchNorm2d | None = None, *, relu: bool = False
) -> FoldedConvolution:
    """Merges a convolution and the batch norm behind it, in evaluation mode; equal up to rounding."""
    weight = convolution.weight.detach().double()
    bias = weight.new_zeros(len(weight)) if convolution.bias is None else convolution.bias.detach().double()
    if norm is not None:
        factor, shift = norm_factors(norm)
        weight = weight * factor.view(-1, 1, 1, 1)
        bias = bias * factor + shift
    assert not isinstance(convolution.padding, str)
    folded_weight, folded_bias = weight.float(), bias.float()
    check_folded(folded_weight, folded_bias, weight.shape)
    return FoldedConvolution(
        folded_weight,
        folded_bias,
        (convolution.stride[0], convolution.stride[1]),
        (convolution.padding[0], convolution.padding[1]),
        (convolution.dilation[0], convolution.dilation[1]),
        convolution.groups,
        relu,
    )


def norm_factors(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift per channel of a batch norm in evaluation mode, [C] float64 each."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    factor = norm.weight.detach().double() / (norm.running_var.double() + norm.eps).sqrt()
    return factor, norm.bias.detach().double() - norm.running_mean.double() * factor
