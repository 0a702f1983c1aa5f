"""DCM and HSM on folded convolutions; gains are multiplied into the convolutions before them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posrefine.inference.fast.backend import Backend
from posrefine.inference.fast.folding import fold
from posrefine.inference.fast.layers import Chain, chain_of
from posrefine.modeling.dcm import DilatedConvolutionModule
from posrefine.modeling.hsm import CascadedContext, ChannelNorm, GatedMLP, HybridSelfAttention
from posrefine.modeling.refine import GainedDCM

__all__ = ["fast_refine"]

Layer = Callable[[Tensor], Tensor]


def fast_refine(block: nn.Module, backend: Backend) -> Layer:
    """What a branch's context module computes, up to rounding. The input may be overwritten."""
    if isinstance(block, HybridSelfAttention):
        return _FastAttention(block, backend)
    if isinstance(block, GainedDCM):
        return _FastGainedDCM(block, backend)
    assert isinstance(block, nn.Identity), f"no fast form of {type(block).__name__}"
    return block


class _FastAttention:
    def __init__(self, block: HybridSelfAttention, backend: Backend) -> None:
        self._norm = _FastNorm(block.norm, backend)
        self._context = _fast_context(block.context, backend)
        self._value = backend.convolution(fold(block.value))
        self._project = backend.convolution(fold(block.project).scaled(_gain(block.attention_gain.weight)))
        self._mlp = _FastMLP(block.mlp, block.mlp_gain.weight, backend)

    def __call__(self, x: Tensor) -> Tensor:
        normed = self._norm(x)
        modulated = self._value(normed).mul_(self._context(normed))
        return self._mlp(self._project.onto(x, modulated))


class _FastMLP:
    """x + gain * MLP(x); the gain of the convolution is in its weights, that of the residual is not."""

    def __init__(self, mlp: GatedMLP, gain: Tensor, backend: Backend) -> None:
        self._norm = _FastNorm(mlp.norm, backend)
        self._widen = backend.convolution(fold(mlp.widen))
        self._narrow = backend.convolution(fold(mlp.narrow).scaled(_gain(gain)))
        self._gain = backend.tensor(gain)

    def __call__(self, x: Tensor) -> Tensor:
        normed = self._norm(x)
        hidden = self._widen(normed)
        return self._narrow.onto(x.addcmul_(normed, self._gain), F.gelu(hidden).mul_(hidden))


class _FastGainedDCM:
    def __init__(self, block: GainedDCM, backend: Backend) -> None:
        self._norm = _FastNorm(block.norm, backend)
        self._context = _FastDCM(block.context, backend)
        self._gain = backend.tensor(block.gain.weight)

    def __call__(self, x: Tensor) -> Tensor:
        return x.addcmul_(self._context(self._norm(x)), self._gain)


def _fast_context(context: nn.Module, backend: Backend) -> Layer:
    if isinstance(context, DilatedConvolutionModule):
        return _FastDCM(context, backend)
    assert isinstance(context, CascadedContext), f"no fast form of {type(context).__name__}"
    return _FastCascade(context, backend)


class _FastDCM:
    def __init__(self, module: DilatedConvolutionModule, backend: Backend) -> None:
        self._paths = [
            (Chain(chain_of(shape), backend), Chain(chain_of(dilated), backend))
            for shape, dilated in zip(module.shapes, module.dilated, strict=True)
        ]
        self._project = Chain(chain_of(module.project), backend)

    def __call__(self, x: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        for shape, dilated in self._paths:
            own = shape(x)
            outputs.append(dilated(own.add_(outputs[-1]) if outputs else own))
        return self._project(torch.cat(outputs, dim=1))


class _FastCascade:
    def __init__(self, context: CascadedContext, backend: Backend) -> None:
        self._dilated = [Chain(chain_of(dilated), backend) for dilated in context.dilated]

    def __call__(self, x: Tensor) -> Tensor:
        x1, x2, x3 = (x := dilated(x) for dilated in self._dilated)
        return x3.add_(x1).add_(x2)


class _FastNorm:
    def __init__(self, norm: ChannelNorm, backend: Backend) -> None:
        self._shape, self._eps = norm.normalized_shape, norm.eps
        self._weight = backend.tensor(norm.weight)
        self._bias = backend.tensor(norm.bias)

    def __call__(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1)
        return F.layer_norm(rows, self._shape, self._weight, self._bias, self._eps).permute(0, 3, 1, 2)


def _gain(weight: Tensor) -> Tensor:
    return weight.detach().flatten()
