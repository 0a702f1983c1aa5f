"""Test-time views: the straight and the mirrored image, with heatmaps and offsets on one grid."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from posrefine.inference.fast.offsets import Offsets
from posrefine.skeletons import Skeleton
from posrefine.test_protocols import STRIDE, FlipAlignment, TestProtocol

__all__ = ["ScaleMaps", "joint_positions", "merge_views", "mirrored_images"]


@dataclass(frozen=True)
class ScaleMaps:
    """The network's maps of a batch at one test scale.

    Attributes:
        scale: the test scale.
        heatmap: [B, K+1, h, w] float32, the mean of the straight and the mirrored view, flipped back.
        offsets: of the straight views; with `mirrored` then of the mirrored ones, not flipped back.
        mirrored: whether there are mirrored views.
    """

    scale: float
    heatmap: Tensor
    offsets: Offsets
    mirrored: bool


def mirrored_images(images: Tensor, protocol: TestProtocol) -> Tensor:
    """The second view, [B, C, H, W] like the first.

    With `shift_image` it is also moved left by STRIDE - 1 px, so that heatmap cells of both views lie on each
    other; the columns that become free keep what was there.
    """
    flipped = images.flip(-1)
    if protocol.flip_alignment is FlipAlignment.SHIFT_HEATMAP:
        return flipped
    shift = STRIDE - 1
    return torch.cat([flipped[..., shift:], flipped[..., -shift:]], dim=-1)


def merge_views(
    scale: float,
    heatmap: Tensor,
    offsets: Offsets,
    skeleton: Skeleton,
    protocol: TestProtocol,
    *,
    flip: bool,
) -> ScaleMaps:
    """Sorts the network's output for one scale by view, and averages the heatmaps.

    Args:
        scale: the test scale.
        heatmap: [B, K+1, h, w], or [2B, ...] with `flip`: first the straight views, then the mirrored ones.
        offsets: of B or 2B views, likewise.
        skeleton: says which joints change sides.
        protocol: how the views are aligned.
        flip: whether there are mirrored views.
    """
    if not flip:
        return ScaleMaps(scale, heatmap.float(), offsets, mirrored=False)
    straight, mirrored = heatmap.float().chunk(2)
    channels = _index((*skeleton.flip_order, skeleton.num_joints), heatmap.device)
    back = mirrored.index_select(1, channels).flip(-1)
    if protocol.flip_alignment is FlipAlignment.SHIFT_HEATMAP:
        back = torch.cat([back[..., :1], back[..., :-1]], dim=-1)
    return ScaleMaps(scale, (straight + back) / 2, offsets, mirrored=True)


def joint_positions(maps: ScaleMaps, cells: Tensor, skeleton: Skeleton, protocol: TestProtocol) -> Tensor:
    """Keypoints by each view, from the offsets at the cells of the centres.

    Args:
        maps: one scale.
        cells: [B, P, 2] int64, x then y, inside the maps.
        skeleton: says which joints change sides.
        protocol: how the views are aligned.

    Returns:
        [B, V, P, K, 2] heatmap cells of the straight view; V is 2 with a mirrored view, else 1.
    """
    if not maps.mirrored:
        return (cells.unsqueeze(2) - maps.offsets.at(cells)).unsqueeze(1)
    last = maps.heatmap.shape[-1] - 1
    mirrored_cells = torch.stack([last - cells[..., 0], cells[..., 1]], dim=-1)
    in_views = torch.cat([cells, mirrored_cells])
    straight, mirrored = (in_views.unsqueeze(2) - maps.offsets.at(in_views)).chunk(2)
    mirrored = mirrored.index_select(2, _index(skeleton.flip_order, mirrored.device))
    shifted = (STRIDE - 1) / STRIDE if protocol.flip_alignment is FlipAlignment.SHIFT_HEATMAP else 0.0
    back = torch.stack([last - mirrored[..., 0] + shifted, mirrored[..., 1]], dim=-1)
    return torch.stack([straight, back], dim=1)


@lru_cache(maxsize=64)
def _index(order: tuple[int, ...], device: torch.device) -> Tensor:
    # Kept on the device: a copy there for every batch would hold up the queue.
    return torch.tensor(order, device=device)
