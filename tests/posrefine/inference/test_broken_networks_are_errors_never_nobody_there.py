"""A network that computes NaN ends in an error: an image without persons is a finding, and this is none."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from support.networks import noisy_network

from posrefine.errors import NonFiniteMaps, WeightsError
from posrefine.inference.predictor import Predictor
from posrefine.modeling.score_net import ScoreNet
from posrefine.skeletons import COCO

IMAGES = [np.random.default_rng(seed).integers(0, 256, (48, 64, 3), np.uint8) for seed in range(3)]


@pytest.fixture(scope="module")
def whole():
    return noisy_network()


@pytest.fixture
def model(whole):
    return copy.deepcopy(whole)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("name", ["stage2.0.branches.0.0.conv1.weight", "bn1.running_mean"])
def test_weights_that_are_not_finite_are_named_before_anything_runs(model, name, value):
    """The fused ReLU behind such a layer makes 0 of NaN: the maps would be finite and show nobody."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    tensors[name].data.view(-1)[5] = value
    with pytest.raises(WeightsError, match=f"network: {name} holds NaN or infinity"):
        Predictor(model, input_size=64)


def test_a_negative_variance_is_named_too(model):
    model.bn2.running_var[3] = -1
    with pytest.raises(WeightsError, match=r"network: bn2\.running_var falls to -1"):
        Predictor(model, input_size=64)


@pytest.mark.parametrize("layer", ["conv1", "adaptive"])
def test_finite_weights_whose_product_is_not_finite_are_refused(model, layer):
    with torch.no_grad():
        if layer == "conv1":
            model.conv1.weight.fill_(1e30)
            model.bn1.weight.fill_(1e20)
            words = r"convolution of shape \[24, 3, 3, 3\] times the batch norm"
        else:
            block = model.offset_feature_layers.blocks[0]
            block.weight.fill_(1e30)
            block.bn.weight.fill_(1e20)
            words = "times the batch norm"
    with pytest.raises(WeightsError, match=words):
        Predictor(model, input_size=64)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("part", "factor"),
    [("stage4.0.branches", 1e10), ("stage3", 1e10), ("layer1", 1e30), ("head_heatmap", 1e38)],
)
def test_layers_that_compute_no_number_are_named_though_each_weight_is_finite(model, part, factor, precision):
    """The fused ReLUs of a prepared network would make 0 of NaN, and persons of that."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.startswith(part) and value.ndim == 4:
                value.mul_(factor)
                assert torch.isfinite(value).all()
    with pytest.raises(WeightsError, match=rf"network: {part.split('.')[0]}\S* computes NaN or infinity"):
        Predictor(model, input_size=64, precision=precision)


def test_being_looked_at_leaves_a_network_as_it_was(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    model.stage2.eval()
    modes = [module.training for module in model.modules()]
    Predictor(model, input_size=64)
    assert [module.training for module in model.modules()] == modes
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert not any(module._forward_hooks for module in model.modules())


def test_a_score_network_that_is_not_finite_is_refused(model):
    score_net = ScoreNet(COCO)
    with torch.no_grad():
        score_net.l2.bias[0] = torch.nan
    with pytest.raises(WeightsError, match=r"network: l2\.bias holds NaN"):
        Predictor(model, input_size=64, score_net=score_net)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("channel", [-1, 0], ids=["centre", "joint"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_maps_that_are_not_finite_name_the_image_and_end_the_call(model, monkeypatch, value, channel, flip):
    predictor = Predictor(model, input_size=64, flip=flip, precision="float32")
    network = predictor._network._run

    def poisoned(views):
        """The second image's heat; its mirrored view is left alone."""
        maps = network(views)
        maps.heatmap[1, channel] = value
        return maps

    assert len(predictor(IMAGES)) == 3
    monkeypatch.setattr(predictor._network, "_run", poisoned)
    with pytest.raises(NonFiniteMaps, match=r"image 1 of the call: the network computed NaN.*cpu, float32"):
        predictor(IMAGES)


def test_offsets_that_are_not_finite_do_too(model, monkeypatch):
    predictor = Predictor(model, input_size=64, precision="float32")
    network = predictor._network._run

    def poisoned(views):
        maps = network(views)
        maps.of_joints[2].fill_(torch.nan)
        return maps

    monkeypatch.setattr(predictor._network, "_run", poisoned)
    with pytest.raises(NonFiniteMaps, match="image 2 of the call"):
        predictor(IMAGES)


def test_images_without_persons_are_still_none():
    found = Predictor(noisy_network(heat_bias=-5.0), input_size=64)(IMAGES)
    assert [len(poses) for poses in found] == [0, 0, 0]
