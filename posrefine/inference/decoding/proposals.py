"""Person proposals: the peaks of the centre heatmap."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from posrefine.test_protocols import TestProtocol

__all__ = ["Proposals", "centre_proposals"]


class Proposals(NamedTuple):
    """Proposals of a batch, for each image by falling score, padded to equal numbers.

    Attributes:
        cells: [B, P, 2] int64, x then y, heatmap cells.
        scores: [B, P] float32.
        found: [B, P] bool, False for padding.
    """

    cells: Tensor
    scores: Tensor
    found: Tensor


def centre_proposals(centre: Tensor, protocol: TestProtocol) -> Proposals:
    """The highest local maxima of centre heatmaps [B, h, w] float32, at most as many as persons."""
    height, width = centre.shape[-2:]
    kernel = protocol.centre_kernel(height, width)
    highest = F.max_pool2d(centre, kernel, stride=1, padding=kernel // 2)
    peaks = torch.where(centre == highest, centre, centre.new_zeros(())).flatten(1)
    scores, flat_cells = peaks.topk(min(protocol.max_persons, height * width), dim=1)
    # Equal scores, common in bfloat16, come in no particular order: make it the order of the cells.
    flat_cells, by_cell = flat_cells.sort(dim=1)
    scores, by_score = scores.gather(1, by_cell).sort(dim=1, descending=True, stable=True)
    flat_cells = flat_cells.gather(1, by_score)
    cells = torch.stack([flat_cells % width, flat_cells // width], dim=-1)
    return Proposals(cells, scores, scores > protocol.centre_threshold)
