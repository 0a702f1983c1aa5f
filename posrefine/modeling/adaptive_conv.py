"""Adaptive convolution: a 3x3 convolution whose nine taps an affine map moves, predicted at every pixel.

Follows DEKR (Geng et al., CVPR 2021), which runs it as a deformable convolution with offsets A r_k - r_k + t.
The regular grid r_k cancels: tap k of pixel p samples at p + A r_k + t, bilinearly, zero outside the map. So
plain tensor code does it, for all joints at once: joints are folded into the batch for sampling, and are the
groups of one product.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["AFFINE_ROWS", "TAPS", "AdaptiveBlock", "adaptive_convolution", "at_flat_cells", "regular_matrix"]

TAPS = 9
AFFINE_ROWS = 6
"""Predicted numbers per pixel and joint: A row-major (a_yy, a_yx, a_xy, a_xx), then t (t_y, t_x)."""


class AdaptiveBlock(nn.Module):
    """Adaptive convolution, batch norm, shortcut and ReLU, for every joint on its own channels.

    The parameters of all joints are stacked (joint j owns channels jC to (j+1)C); `heads.AdaptiveStack` gives
    them DEKR's names.

    Args:
        joints: K.
        channels: C, per joint.
    """

    def __init__(self, joints: int, channels: int) -> None:
        super().__init__()
        self.joints = joints
        width = joints * channels
        self.affine_conv = nn.Conv2d(width, joints * AFFINE_ROWS, 3, padding=1, groups=joints)
        self.weight = nn.Parameter(torch.empty(width, channels, 3, 3))
        self.bn = nn.BatchNorm2d(width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Starts as a regular 3x3 convolution: A = I and t = 0 everywhere.

        DEKR starts from A = 0, where all nine taps read the same cell until A has grown; from the identity
        the block sees its surroundings from the first step.
        """
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        nn.init.zeros_(self.affine_conv.weight)
        assert self.affine_conv.bias is not None
        with torch.no_grad():
            self.affine_conv.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]).repeat(self.joints))

    def forward(self, x: Tensor, flat_cells: Tensor | None = None) -> Tensor:
        """[B, KC, H, W] to the same shape; with `flat_cells` to [B, KC, M, 1] (see `at_flat_cells`)."""
        out = adaptive_convolution(x, self.affine_conv(x), self.weight, flat_cells)
        return F.relu(self.bn(out) + at_flat_cells(x, flat_cells))


def at_flat_cells(maps: Tensor, flat_cells: Tensor | None) -> Tensor:
    """[B, C, H, W] at M cells of each image: [B, C, M, 1].

    Args:
        maps: [B, C, H, W].
        flat_cells: [B, M] int64, each y * W + x; None leaves the maps as they are.
    """
    if flat_cells is None:
        return maps
    batch, channels, height, width = maps.shape
    # In channels-last maps a cell's channels lie side by side, so a whole row of them is taken at a time.
    rows = maps.permute(0, 2, 3, 1).reshape(batch * height * width, channels)
    firsts = torch.arange(0, batch * height * width, height * width, device=maps.device)
    taken = rows.index_select(0, (flat_cells + firsts[:, None]).flatten())
    return taken.view(batch, -1, channels).transpose(1, 2).unsqueeze(-1)


def adaptive_convolution(
    x: Tensor, affine: Tensor, weight: Tensor, flat_cells: Tensor | None = None
) -> Tensor:
    """Samples nine affinely placed taps per pixel and multiplies them with each joint's weights.

    Args:
        x: [B, KC, H, W], joint j's features in channels jC to (j+1)C.
        affine: [B, 6K, H, W], per joint a_yy, a_yx, a_xy, a_xx, t_y, t_x in cells of the map.
        weight: [KC, C, 3, 3], joint by joint the weights of a 3x3 convolution.
        flat_cells: [B, M] int64, where to compute it, each y * W + x; None is everywhere.

    Returns:
        [B, KC, H, W], or [B, KC, M, 1] at `flat_cells`.
    """
    batch, width, height, columns = x.shape
    channels = weight.shape[1]
    joints = width // channels
    # bfloat16 resolves positions on a large map to half a cell only.
    exact = torch.promote_types(x.dtype, torch.float32)
    affine = at_flat_cells(affine, flat_cells)
    shape = affine.shape[-2:]
    samples = F.grid_sample(
        x.reshape(batch * joints, channels, height, columns).to(exact),
        _sampling_grid(
            affine.reshape(batch * joints, AFFINE_ROWS, *shape).to(exact),
            *_positions(flat_cells, joints, (height, columns), affine.device),
            (height, columns),
        ),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )
    samples = samples.to(weight.dtype).view(batch, joints, channels * TAPS, shape[0] * shape[1])
    out = weight.reshape(joints, channels, channels * TAPS) @ samples
    return out.reshape(batch, width, *shape)


def _positions(
    flat_cells: Tensor | None, joints: int, size: tuple[int, int], device: torch.device
) -> tuple[Tensor, Tensor]:
    """Middles of the cells to compute, y and x in half cells; they broadcast with [N, 3, rows, columns]."""
    height, columns = size
    if flat_cells is None:
        y = torch.arange(1, 2 * height, 2, device=device).view(1, height, 1)
        return y, torch.arange(1, 2 * columns, 2, device=device).view(1, 1, columns)
    of_joints = flat_cells.repeat_interleave(joints, 0).unsqueeze(1).unsqueeze(-1)
    return of_joints // columns * 2 + 1, of_joints % columns * 2 + 1


def _sampling_grid(affine: Tensor, y: Tensor, x: Tensor, size: tuple[int, int]) -> Tensor:
    """[N, 6, h, w] in cells, of the cells at y, x, to the [N, 9h, w, 2] of `grid_sample` on a map of `size`.

    x, y; -1 and 1 at the outer edges. A tap is its row's part plus its column's part, so only one sum is as
    large as the grid.
    """
    height, columns = size
    steps = torch.arange(-1, 2, dtype=affine.dtype, device=affine.device).view(3, 1, 1)
    a_yy, a_yx, a_xy, a_xx, t_y, t_x = affine.unsqueeze(2).unbind(1)
    # Adding whole numbers to floats keeps the floats' type.
    rows_y = ((a_yy * steps + t_y) * 2 + y) / height - 1
    rows_x = ((a_xy * steps + t_x) * 2 + x) / columns - 1
    rows = torch.stack([rows_x, rows_y], dim=-1)
    across = torch.stack([a_xx * steps * (2 / columns), a_yx * steps * (2 / height)], dim=-1)
    count, _, rows_shown, columns_shown = affine.shape
    return (rows.unsqueeze(2) + across.unsqueeze(1)).view(count, TAPS * rows_shown, columns_shown, 2)


def regular_matrix(like: Tensor) -> Tensor:
    """[2, 9]: row 0 the y, row 1 the x of the regular 3x3 grid, in the order of a convolution's weights."""
    steps = torch.arange(-1, 2, dtype=like.dtype, device=like.device)
    return torch.stack([steps.repeat_interleave(3), steps.repeat(3)])
