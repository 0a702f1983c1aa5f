"""Small networks for tests that need some network, not a good one."""

from __future__ import annotations

import torch
from torch import nn

from posrefine.build import build_model
from posrefine.modeling.network import PoseNetwork
from posrefine.skeletons import COCO, Skeleton


def noisy_network(skeleton: Skeleton = COCO, heat_bias: float = 0.5) -> PoseNetwork:
    """The tiny network with random weights and the output of a trained one's size.

    Heat lies 0.1 around `heat_bias` (0.5 finds many persons, -5 none), joints lie 2 cells around the centre.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(20)
        model = build_model("posrefine_tiny", skeleton=skeleton)
        pixels = torch.randint(0, 256, (2, 3, 64, 96))
    with torch.no_grad():
        maps = model.eval()(model.normalise(pixels))
        last = list(model.head_heatmap.modules())[-1]
        assert isinstance(last, nn.Conv2d)
        assert last.bias is not None
        last.weight.mul_(0.1 / maps.heatmap.std())
        last.bias.fill_(heat_bias)
        for parameter in model.offset_final_layer.parameters():
            parameter.mul_(2.0 / maps.offset.std())
    return model.train()
