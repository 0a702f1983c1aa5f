"""DEKR's two heads: heatmaps of joints and centres, and offsets from a person's centre to each joint.

Follows Geng et al., "Bottom-Up Human Pose Estimation via Disentangled Keypoint Regression" (CVPR 2021).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from posrefine.modeling.adaptive_conv import AdaptiveBlock, regular_matrix
from posrefine.modeling.hrnet import BasicBlock
from posrefine.modeling.joint_names import JointTensor, use_joint_names

__all__ = ["AdaptiveStack", "OffsetLayer", "heatmap_head"]

PREDICTION_STD = 0.001
"""Of the last layers' initial weights, as in DEKR: predictions start near zero."""


def heatmap_head(channels: int, joints: int) -> nn.Sequential:
    """One residual block and a 1x1 convolution to K + 1 heatmaps; the centre's is the last."""
    final = nn.Conv2d(channels, joints + 1, 1)
    _start_near_zero(final)
    return nn.Sequential(nn.Sequential(BasicBlock(channels)), final)


class AdaptiveStack(nn.Module):
    """Adaptive blocks one after another, each joint on its own channels throughout.

    State dict: `{joint}.{block}.transform_matrix_conv.weight` and so on, as in DEKR.

    Args:
        joints: K.
        channels: C, per joint.
        blocks: how many adaptive blocks follow each other.
    """

    def __init__(self, joints: int, channels: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(AdaptiveBlock(joints, channels) for _ in range(blocks)))
        use_joint_names(
            self,
            joints,
            [entry for block in range(blocks) for entry in _block_tensors(block, channels)],
            {f"{{joint}}.{block}.regular_matrix": regular_matrix(torch.zeros(())) for block in range(blocks)},
        )

    def forward(self, x: Tensor, flat_cells: Tensor | None = None) -> Tensor:
        """[B, KC, H, W] to the same shape; at `flat_cells` of the last block, to [B, KC, M, 1]."""
        *before, last = self.blocks
        for block in before:
            x = block(x)
        return last(x, flat_cells)  # type: ignore[no-any-return]


class OffsetLayer(nn.Conv2d):
    """The last layer of every joint: [B, KC, H, W] to [B, 2K, H, W], x and y of joint 0, of joint 1, ...

    State dict: `{joint}.weight` and `{joint}.bias`, as in DEKR.
    """

    def __init__(self, joints: int, channels: int) -> None:
        super().__init__(joints * channels, 2 * joints, 1, groups=joints)
        _start_near_zero(self)
        entries = [JointTensor(name, (("{joint}." + name, 2),)) for name in ("weight", "bias")]
        use_joint_names(self, joints, entries)


def _block_tensors(block: int, channels: int) -> list[JointTensor]:
    ours, theirs = f"blocks.{block}.", f"{{joint}}.{block}."
    affine = [
        JointTensor(
            f"{ours}affine_conv.{leaf}",
            ((f"{theirs}transform_matrix_conv.{leaf}", 4), (f"{theirs}translation_conv.{leaf}", 2)),
        )
        for leaf in ("weight", "bias")
    ]
    weight = JointTensor(f"{ours}weight", ((f"{theirs}adapt_conv.weight", channels),))
    norm = [
        JointTensor(f"{ours}bn.{leaf}", ((f"{theirs}bn.{leaf}", channels),))
        for leaf in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    ]
    return [*affine, weight, *norm]


def _start_near_zero(layer: nn.Conv2d) -> None:
    nn.init.normal_(layer.weight, std=PREDICTION_STD)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
