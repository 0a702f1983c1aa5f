"""The offset head on a GPU: all joints at once, an adaptive block in one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from posrefine.inference.fast.backend import Backend
from posrefine.inference.fast.folding import FoldedConvolution, fold, norm_factors
from posrefine.inference.fast.heads import FastTransition
from posrefine.inference.fast.layers import chain_of, children_of
from posrefine.inference.fast.offsets import DenseOffsets
from posrefine.inference.fast.soundness import check_folded
from posrefine.modeling.adaptive_conv import AFFINE_ROWS, TAPS, AdaptiveBlock, adaptive_convolution
from posrefine.modeling.network import PoseNetwork

__all__ = [
    "AdaptiveKernel",
    "AdaptiveWeights",
    "StackedOffsetHead",
    "adaptive_weights",
    "plain_adaptive_block",
]

CHANNELS = 16
"""Channels per joint, the last ones zero: kernels multiply in tiles of 16, and rows of 16 are aligned."""


@dataclass(frozen=True)
class AdaptiveWeights:
    """An adaptive block's weights as the kernel reads them, K joints by C = 16 channels.

    Attributes:
        affine: [K, 9, C, C], from inputs to the affine map's six numbers (then zeros), tap by tap.
        affine_bias: [K, C] float32.
        weight: [K, 9, C, C], from inputs to outputs, tap by tap, batch norm folded in.
        shift: [K, C] float32, what the batch norm adds.
    """

    affine: Tensor
    affine_bias: Tensor
    weight: Tensor
    shift: Tensor


class AdaptiveKernel(Protocol):
    """An adaptive block: affine map, gather, product, batch norm, shortcut and ReLU."""

    def __call__(self, x: Tensor, weights: AdaptiveWeights) -> Tensor:
        """[B, K * 16, H, W] channels-last to the same shape."""
        ...


class StackedOffsetHead:
    """From branch maps to offsets.

    Args:
        network: read, not kept.
        widths: channels of the branches, finest first.
        backend: where it runs.
        adaptive_block: computes an adaptive block.
    """

    def __init__(
        self, network: PoseNetwork, widths: Sequence[int], backend: Backend, adaptive_block: AdaptiveKernel
    ) -> None:
        joints = network.skeleton.num_joints
        (transition,) = chain_of(network.transition_offset)
        self._transition = FastTransition(_with_padded_outputs(transition, joints), widths, backend)
        self._blocks = [
            adaptive_weights(block, joints, backend)
            for block in children_of(network.offset_feature_layers.blocks, AdaptiveBlock)
        ]
        final = fold(network.offset_final_layer)
        padding = CHANNELS - final.weight.shape[1]
        padded = replace(final, weight=F.pad(final.weight, (0, 0, 0, 0, 0, padding)))
        self._final = backend.exact.convolution(padded.dense())
        self._adaptive_block = adaptive_block

    def __call__(self, maps: Sequence[Tensor]) -> Tensor:
        """Branch maps, finest first, to [B, 2K, H/4, W/4] float32."""
        x = self._transition(maps)
        for weights in self._blocks:
            x = self._adaptive_block(x, weights)
        return self._final(x.float())

    def offsets(self, offset: Tensor) -> DenseOffsets:
        """The dense offsets, by cell."""
        return DenseOffsets(offset)


def adaptive_weights(block: AdaptiveBlock, joints: int, backend: Backend) -> AdaptiveWeights:
    """The block's weights, joints by taps, channels filled up with zeros."""
    channels = block.weight.shape[1]
    factor, shift = norm_factors(block.bn)
    weight = block.weight.detach().double() * factor.view(-1, 1, 1, 1)
    check_folded(weight.float(), shift.float(), weight.shape)
    affine = fold(block.affine_conv)
    return AdaptiveWeights(
        affine=backend.tensor(_by_tap(affine.weight, joints, AFFINE_ROWS, channels)),
        affine_bias=_by_joint(affine.bias, joints).to(backend.device),
        weight=backend.tensor(_by_tap(weight.float(), joints, channels, channels)),
        shift=_by_joint(shift.float(), joints).to(backend.device),
    )


def plain_adaptive_block(x: Tensor, weights: AdaptiveWeights) -> Tensor:
    """The kernel's computation in torch's own operators, for devices without Triton, and to test it."""
    joints = len(weights.weight)
    affine = F.conv2d(
        x, _as_convolution(weights.affine, AFFINE_ROWS), padding=1, groups=joints
    ).float() + weights.affine_bias[:, :AFFINE_ROWS].reshape(-1, 1, 1)
    out = adaptive_convolution(x, affine, _as_convolution(weights.weight, CHANNELS)).float()
    out += weights.shift.view(-1, 1, 1)
    return out.add_(x).relu_().to(x.dtype, memory_format=torch.channels_last)


def _as_convolution(by_tap: Tensor, outputs: int) -> Tensor:
    """[K, 9, C, C] to a grouped convolution's [K * outputs, C, 3, 3]."""
    joints, _, channels, _ = by_tap.shape
    kept = by_tap[..., :outputs].permute(0, 3, 2, 1)
    return kept.reshape(joints * outputs, channels, 3, 3)


def _by_tap(weight: Tensor, joints: int, outputs: int, inputs: int) -> Tensor:
    """[K * outputs, inputs, 3, 3] to [K, 9, C, C], inputs before outputs."""
    taps = weight.reshape(joints, outputs, inputs, TAPS).permute(0, 3, 2, 1)
    return F.pad(taps, (0, CHANNELS - outputs, 0, CHANNELS - inputs)).contiguous()


def _by_joint(values: Tensor, joints: int) -> Tensor:
    """[K * outputs] to [K, C]."""
    rows = values.view(joints, -1)
    return F.pad(rows, (0, CHANNELS - rows.shape[1]))


def _with_padded_outputs(folded: FoldedConvolution, joints: int) -> FoldedConvolution:
    """Each joint's channels filled up with ones that are zero."""
    weight = folded.weight.view(joints, -1, *folded.weight.shape[1:])
    weight = F.pad(weight, (0, 0, 0, 0, 0, 0, 0, CHANNELS - weight.shape[1]))
    return replace(folded, weight=weight.flatten(0, 1), bias=_by_joint(folded.bias, joints).flatten())
