"""Small networks for tests that need some network, not a good one."""

from __future__ import annotations

import torch

from posrefine.build import build_model
from posrefine.modeling.network import PoseNetwork
from posrefine.skeletons import COCO, Skeleton


def noisy_network(skeleton: Skeleton = COCO, heat_bias: float = 0.5) -> PoseNetwork:
    """The tiny network with random weights and heat around `heat_bias`: 0.5 finds many persons, -5 none."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20)
        model = build_model("posrefine_tiny", skeleton=skeleton)
    last = list(model.head_heatmap.modules())[-1]
    assert isinstance(last, torch.nn.Conv2d)
    assert last.bias is not None
    with torch.no_grad():
        last.bias.fill_(heat_bias)
    return model
