"""DCM and HSM on folded convolutions; gains are multiplied into the convolutions before them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from posrefine.inference.fast.backend import Backend, Library
from posrefine.inference.fast.folding import FoldedConvolution, fold
from posrefine.inference.fast.layers import Chain, chain_of, children_of
from posrefine.modeling.dcm import DilatedConvolutionModule
from posrefine.modeling.hsm import CascadedContext, GatedMLP, GlobalAttention, HybridSelfAttention
from posrefine.modeling.residual import ChannelNorm, GainedResidual

__all__ = ["FastRefine"]

QUERIES_AT_ONCE = 1024
"""Whose scores stay in the processor's cache."""

Part = Callable[[Tensor, Tensor], Tensor]
"""From a branch, which may be overwritten, and its normalised form to the branch with the part added."""


class FastRefine:
    """DCM and HSM of a branch on folded convolutions, equal up to rounding."""

    def __init__(self, block: nn.Module, backend: Backend) -> None:
        self._parts = [
            (_FastNorm(part.norm, backend), _fast_part(part.inner, part.gain.weight, backend))
            for part in children_of(block, GainedResidual)
        ]

    def __call__(self, x: Tensor) -> Tensor:
        """[B, C, H, W] channels-last to the same shape; the input may be overwritten."""
        for norm, part in self._parts:
            x = part(x, norm(x))
        return x


def _fast_part(inner: nn.Module, gain: Tensor, backend: Backend) -> Part:
    if isinstance(inner, DilatedConvolutionModule):
        return _FastDCM(inner, gain, backend)
    if isinstance(inner, HybridSelfAttention):
        return _FastAttention(inner, gain, backend)
    assert isinstance(inner, GatedMLP), f"no fast form of {type(inner).__name__}"
    return _FastMLP(inner, gain, backend)


class _FastDCM:
    def __init__(self, module: DilatedConvolutionModule, gain: Tensor, backend: Backend) -> None:
        self._paths = [
            (Chain(chain_of(shape), backend), Chain(chain_of(dilated), backend))
            for shape, dilated in zip(module.shapes, module.dilated, strict=True)
        ]
        self._project = Chain(_scaled(chain_of(module.project), gain), backend)

    def __call__(self, x: Tensor, normed: Tensor) -> Tensor:
        outputs: list[Tensor] = []
        for shape, dilated in self._paths:
            own = shape(normed)
            outputs.append(dilated(own.add_(outputs[-1]) if outputs else own))
        return self._project.onto(x, torch.cat(outputs, dim=1))


class _FastAttention:
    def __init__(self, module: HybridSelfAttention, gain: Tensor, backend: Backend) -> None:
        self._context = _FastContext(module.context, backend)
        self._value = backend.convolution(fold(module.value))
        self._attention = _FastGlobalAttention(module.attention, backend)
        self._project = Chain(_scaled([fold(module.project)], gain), backend)

    def __call__(self, x: Tensor, normed: Tensor) -> Tensor:
        mixed = self._attention(normed).addcmul_(self._context(normed), self._value(normed))
        return self._project.onto(x, mixed)


class _FastContext:
    def __init__(self, context: CascadedContext, backend: Backend) -> None:
        self._dilated = [Chain(chain_of(dilated), backend) for dilated in context.dilated]

    def __call__(self, x: Tensor) -> Tensor:
        x1, x2, x3 = (x := dilated(x) for dilated in self._dilated)
        return x3.add_(x1).add_(x2)


class _FastGlobalAttention:
    def __init__(self, attention: GlobalAttention, backend: Backend) -> None:
        self._reduction, self._heads = attention.reduction, attention.heads
        in_pieces = backend.library is Library.ONEDNN and backend.dtype is torch.bfloat16
        self._attend = _attend_in_pieces if in_pieces else F.scaled_dot_product_attention
        self._query = backend.convolution(fold(attention.query))
        key_value = fold(attention.key_value)
        self._key, self._value = (
            backend.convolution(replace(key_value, weight=key_value.weight[part], bias=key_value.bias[part]))
            for part in _halves(len(key_value.bias))
        )
        self._position = backend.convolution(fold(attention.position))

    def __call__(self, x: Tensor) -> Tensor:
        """[B, C, H, W] channels-last to the same shape and layout, memory of its own."""
        batch, channels, height, width = x.shape
        step = self._reduction
        coarse = F.avg_pool2d(x, step) if step > 1 else x
        value = self._value(coarse)
        attended = self._attend(self._rows(self._query(x)), self._rows(self._key(coarse)), self._rows(value))
        out = attended.transpose(1, 2).reshape(batch, height // step, step, width // step, step, channels)
        near = self._position(value).permute(0, 2, 3, 1)
        out += near.reshape(batch, height // step, 1, width // step, 1, channels)
        return out.view(batch, height, width, channels).permute(0, 3, 1, 2)

    def _rows(self, x: Tensor) -> Tensor:
        """[B, C, H, W] channels-last to [B, heads, H * W, C / heads]."""
        rows = x.permute(0, 2, 3, 1).reshape(len(x), x.shape[2] * x.shape[3], self._heads, -1)
        return rows.transpose(1, 2)


def _attend_in_pieces(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """`F.scaled_dot_product_attention` of [B, heads, cells, channels], some queries after others.

    On a CPU torch's own takes longer in bfloat16 than in float32; this takes three quarters of its time.
    """
    by_channel = (key * key.shape[-1] ** -0.5).transpose(-1, -2)
    parts = torch.split(query, QUERIES_AT_ONCE, dim=2)
    pieces = [torch.softmax(part @ by_channel, -1) @ value for part in parts]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)


class _FastMLP:
    """x + gain * MLP(x); the gain of the convolution is in its weights, that of the residual is not.

    The grouped convolution runs as a depthwise one over all its inputs, whose results are summed: libraries
    are several times slower where a group has a few inputs. The order of the hidden channels is ours to
    choose, so the first inputs of all groups lie side by side, then the second ones.
    """

    def __init__(self, mlp: GatedMLP, gain: Tensor, backend: Backend) -> None:
        widen, (narrow,) = fold(mlp.widen), _scaled([fold(mlp.narrow)], gain)
        channels, self._ratio = narrow.weight.shape[:2]
        order = torch.arange(channels * self._ratio).view(channels, self._ratio).T.flatten()
        self._widen = backend.convolution(replace(widen, weight=widen.weight[order], bias=widen.bias[order]))
        self._narrow = backend.convolution(
            replace(
                narrow,
                weight=narrow.weight.transpose(0, 1).flatten(0, 1).unsqueeze(1),
                bias=F.pad(narrow.bias, (0, len(order) - channels)),
                groups=len(order),
            )
        )
        self._gain = backend.tensor(gain)

    def __call__(self, x: Tensor, normed: Tensor) -> Tensor:
        hidden = self._widen(normed)
        narrowed = self._narrow(F.gelu(hidden).mul_(hidden))
        x.addcmul_(normed, self._gain)
        # One after the other: a sum over them leaves channels-last memory, and takes twenty times as long.
        for of_one_input in narrowed.chunk(self._ratio, dim=1):
            x.add_(of_one_input)
        return x


class _FastNorm:
    def __init__(self, norm: ChannelNorm, backend: Backend) -> None:
        self._shape, self._eps = norm.normalized_shape, norm.eps
        self._weight = backend.tensor(norm.weight)
        self._bias = backend.tensor(norm.bias)

    def __call__(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1)
        return F.layer_norm(rows, self._shape, self._weight, self._bias, self._eps).permute(0, 3, 1, 2)


def _scaled(chain: Sequence[FoldedConvolution], gain: Tensor) -> list[FoldedConvolution]:
    """With the last convolution's outputs multiplied by a gain [C, 1, 1]."""
    *before, last = chain
    return [*before, last.scaled(gain.detach().flatten())]


def _halves(length: int) -> tuple[slice, slice]:
    return slice(0, length // 2), slice(length // 2, length)
