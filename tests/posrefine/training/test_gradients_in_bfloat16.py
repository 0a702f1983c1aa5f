from __future__ import annotations

from collections import defaultdict

import pytest
import torch
from torch import Tensor, nn

from posrefine.build import build_model
from posrefine.modeling.hsm import DilatedDepthwise


def weight_gradient(convolution: nn.Conv2d, x: Tensor, out_gradient: Tensor) -> Tensor:
    """In float32 and the plain order of memory, which every library computes alike."""
    return nn.grad.conv2d_weight(
        x.float().contiguous(),
        convolution.weight.shape,
        out_gradient.float().contiguous(),
        convolution.stride,
        convolution.padding,
        convolution.dilation,
        convolution.groups,
    )


@pytest.fixture
def differences() -> dict[str, float]:
    """Of each convolution's weight gradient after a bfloat16 pass, relative to its largest value."""
    torch.manual_seed(0)
    model = build_model("posrefine_tiny").train().to(memory_format=torch.channels_last)
    expected: defaultdict[nn.Module, list[Tensor]] = defaultdict(list)

    def remember(module: nn.Conv2d, inputs: tuple[Tensor], out: Tensor) -> None:
        x = inputs[0].detach()
        out.register_hook(lambda gradient: expected[module].append(weight_gradient(module, x, gradient)))

    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(remember)
    for module in model.modules():  # as far into a training: every path has its weight
        for name, parameter in module.named_parameters(recurse=False):
            if name == "gain":
                nn.init.ones_(parameter)
    images = torch.rand(2, 3, 192, 192).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        maps = model(images)
    (maps.heatmap.float().square().mean() + maps.offset.float().square().mean()).backward()
    found = {}
    for name, module in model.named_modules():
        if module in expected:
            wanted = torch.stack(expected[module]).sum(0)
            error = (module.weight.grad - wanted).abs().max() / wanted.abs().max()
            found[name] = error.item() if torch.isfinite(error) else float("inf")
    return found


def test_every_convolutions_weights_have_the_gradient_that_float32_gives_them(differences):
    assert len(differences) > 100
    assert {name: error for name, error in differences.items() if error > 0.02} == {}


@pytest.mark.parametrize("channels", [8, 16, 32, 64])
@pytest.mark.parametrize("rate", [1, 2, 3])
def test_so_do_dilated_convolutions_of_single_channels(channels: int, rate: int):
    torch.manual_seed(rate)
    convolution = DilatedDepthwise(channels, rate).to(memory_format=torch.channels_last)
    x = torch.randn(2, channels, 48, 48).bfloat16().contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        out = convolution(x)
    out_gradient = torch.randn_like(out)
    out.backward(out_gradient)
    wanted = weight_gradient(convolution, x, out_gradient)
    assert out.dtype == torch.bfloat16
    assert (convolution.weight.grad - wanted).abs().max() < 0.01 * wanted.abs().max()
